//! `armory operator`

use std::path::Path;
use std::sync::Arc;

use armory_operator::{Health, Image, Options, PodFields, Scope};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Response, StatusCode};

use crate::args::OperatorArguments;
use crate::exit::{Exit, Usage};
use crate::metrics::exposition::Families;
use crate::metrics::server::{listen, plain, typed};
use crate::signals;

/// Where a pod finds the namespace that it runs in.
const OWN_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

pub(super) async fn run(arguments: OperatorArguments) -> anyhow::Result<Exit> {
    let address = arguments.http_address;
    let options = options(arguments)?;
    let health = Arc::new(Health::default());
    let seen = Arc::clone(&health);
    listen(address, move |request| answer(&seen, request.uri().path())).await?;
    armory_operator::run(
        options,
        health,
        signals::stop_token("stopping: the lease is given back")?,
    )
    .await?;
    Ok(Exit::Done)
}

fn options(arguments: OperatorArguments) -> anyhow::Result<Options> {
    let own = std::fs::read_to_string(OWN_NAMESPACE).ok();
    let own = own.map(|text| text.trim().to_owned());
    let mut namespaces = arguments.namespaces;
    if namespaces.is_empty() {
        namespaces.extend(own.clone());
    }
    let scopes = match (arguments.all_namespaces, namespaces.as_slice()) {
        (true, _) => vec![Scope::All],
        (false, []) => {
            let message = "which namespaces? Outside a pod, name them by --namespace, or give --all-namespaces";
            return Err(Usage(message.to_owned()).into());
        }
        (false, names) => names.iter().cloned().map(Scope::Namespace).collect(),
    };
    let lease_namespace = arguments
        .lease_namespace
        .or(own)
        .or_else(|| namespaces.first().cloned());
    let Some(lease_namespace) = lease_namespace else {
        let message = "where is the Lease? Outside a pod, name its namespace by --lease-namespace";
        return Err(Usage(message.to_owned()).into());
    };
    Ok(Options {
        scopes,
        image: Image {
            name: arguments.image,
            pull_policy: arguments.image_pull_policy,
            pull_secrets: arguments.image_pull_secrets,
        },
        storage_class: arguments.storage_class.filter(|class| !class.is_empty()),
        pod_defaults: match &arguments.pod_defaults {
            Some(file) => pod_defaults(file)?,
            None => PodFields::default(),
        },
        lease: (lease_namespace, arguments.lease),
        identity: identity(),
        maintenance: arguments.maintenance,
    })
}

fn pod_defaults(file: &Path) -> Result<PodFields, Usage> {
    let named = |error: &dyn std::fmt::Display| Usage(format!("{}: {error}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| named(&error))?;
    let value: serde_json::Value = serde_saphyr::from_str(&text).map_err(|error| named(&error))?;
    PodFields::parse_defaults(&value).map_err(|error| named(&error))
}

/// A pod's host name is its own, and unlike any other's.
fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}

fn answer(health: &Health, path: &str) -> Response<Full<Bytes>> {
    match path {
        "/healthz" => plain(StatusCode::OK, "ok\n"),
        // One that waits for the lease is ready to take over.
        "/readyz" if health.in_maintenance() => {
            plain(StatusCode::OK, "maintenance: nothing is reconciled\n")
        }
        "/readyz" => plain(StatusCode::OK, "ok\n"),
        "/metrics" => typed(metrics(health), prometheus::TEXT_FORMAT),
        _ => plain(
            StatusCode::NOT_FOUND,
            "there is /metrics, /healthz and /readyz\n",
        ),
    }
}

fn metrics(health: &Health) -> String {
    let mut families = Families::default();
    let is = |so: bool| f64::from(u8::from(so));
    for (name, help, value) in [
        (
            "armory_operator_leader",
            "1 where this operator leads, else 0",
            is(health.leads()),
        ),
        (
            "armory_operator_maintenance",
            "1 where nothing is reconciled, else 0",
            is(health.in_maintenance()),
        ),
    ] {
        families.gauge(name, help, &[], value);
    }
    let (reconciliations, failures) = health.reconciliations();
    for (name, help, value) in [
        (
            "armory_operator_reconciliations_total",
            "Reconciliations since the start",
            reconciliations,
        ),
        (
            "armory_operator_reconciliation_failures_total",
            "Reconciliations that failed and were tried again",
            failures,
        ),
    ] {
        families.counter(name, help, &[], value);
    }
    families.text()
}
