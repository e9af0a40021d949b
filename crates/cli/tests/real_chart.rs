//! The Helm chart: what it renders, and how it is installed, upgraded and uninstalled.
#![cfg(feature = "real")]

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use armory_testkit::kubernetes::{Cluster, VERSION, programs};
use armory_testkit::{cache, unique};
use serde_json::{Value, json};

const CHART: &str = "../../charts/armory";

/// Helm without a cluster; what it renders is for the version of the tests' one.
fn helm(args: &[&str]) -> Result<String> {
    let mut command = Command::new(programs()?.join("helm"));
    cache::run(command.args(args).args(["--kube-version", VERSION]))
}

/// What a release `backups` in the namespace `kafka` consists of, with these values.
fn render(values: &[&str]) -> Result<Vec<Value>> {
    let mut args = vec!["template", "backups", CHART, "--namespace", "kafka"];
    args.extend(values.iter().flat_map(|value| ["--set-json", value]));
    Ok(serde_saphyr::from_multiple(&helm(&args)?)?)
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let objects = objects.iter();
    objects.filter(|object| object["kind"] == kind).collect()
}

fn container(objects: &[Value]) -> Result<Value> {
    let deployments = of_kind(objects, "Deployment");
    let [deployment] = deployments[..] else {
        anyhow::bail!("{} deployments", deployments.len())
    };
    Ok(deployment["spec"]["template"]["spec"]["containers"][0].clone())
}

fn args(objects: &[Value]) -> Result<Vec<String>> {
    Ok(serde_json::from_value(container(objects)?["args"].clone())?)
}

#[test]
fn helm_finds_nothing_to_complain_about() -> Result<()> {
    helm(&["lint", "--strict", CHART])?;
    let all = "watch.allNamespaces=true";
    helm(&["lint", "--strict", CHART, "--set", all]).map(drop)
}

#[test]
fn by_default_the_operator_has_rights_in_its_own_namespace_alone_and_none_on_secrets() -> Result<()>
{
    let objects = render(&[])?;
    assert!(of_kind(&objects, "ClusterRole").is_empty());
    assert!(of_kind(&objects, "ClusterRoleBinding").is_empty());
    let roles = of_kind(&objects, "Role");
    assert_eq!(roles.len(), 2, "its rights, and its lease");
    for role in &roles {
        assert_eq!(role["metadata"]["namespace"], "kafka");
        for rule in role["rules"].as_array().context("rules")? {
            let text = rule.to_string();
            assert!(!text.contains("secrets") && !text.contains('*'), "{text}");
        }
    }
    assert!(args(&objects)?.contains(&"--namespace=kafka".to_owned()));
    assert_eq!(of_kind(&objects, "CustomResourceDefinition").len(), 8);
    assert!(of_kind(&objects, "PodMonitor").is_empty());
    Ok(())
}

#[test]
fn every_watched_namespace_gets_a_role_and_a_binding_to_the_one_account() -> Result<()> {
    let objects = render(&[r#"watch.namespaces=["one","two"]"#])?;
    for kind in ["Role", "RoleBinding"] {
        let mut namespaces: Vec<&str> = of_kind(&objects, kind)
            .into_iter()
            .filter_map(|object| object["metadata"]["namespace"].as_str())
            .collect();
        namespaces.sort_unstable();
        // That in the release's own is for the lease.
        assert_eq!(namespaces, ["kafka", "one", "two"], "{kind}");
    }
    for binding in of_kind(&objects, "RoleBinding") {
        let account =
            json!([{"kind": "ServiceAccount", "name": "backups-armory", "namespace": "kafka"}]);
        assert_eq!(binding["subjects"], account);
    }
    let args = args(&objects)?;
    let watched: Vec<&String> = args
        .iter()
        .filter(|arg| arg.starts_with("--namespace"))
        .collect();
    assert_eq!(watched, ["--namespace=one", "--namespace=two"]);
    Ok(())
}

#[test]
fn a_cluster_role_is_there_only_when_all_namespaces_are_watched() -> Result<()> {
    let objects = render(&["watch.allNamespaces=true"])?;
    assert_eq!(of_kind(&objects, "ClusterRole").len(), 1);
    assert_eq!(of_kind(&objects, "ClusterRoleBinding").len(), 1);
    assert_eq!(of_kind(&objects, "Role").len(), 1, "that for the lease");
    let args = args(&objects)?;
    assert!(args.contains(&"--all-namespaces".to_owned()), "{args:?}");
    assert!(
        args.iter().all(|arg| !arg.starts_with("--namespace=")),
        "{args:?}"
    );
    Ok(())
}

#[test]
fn the_operator_may_do_as_little_as_the_strictest_policy_of_pods_demands() -> Result<()> {
    let objects = render(&[])?;
    let deployment = of_kind(&objects, "Deployment")[0];
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["runAsUser"], 65532);
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    let container = container(&objects)?;
    let context = &container["securityContext"];
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
    assert!(container["resources"]["limits"]["memory"].is_string());
    assert!(container["livenessProbe"]["httpGet"]["path"] == "/healthz");
    assert!(container["readinessProbe"]["httpGet"]["path"] == "/readyz");
    assert_eq!(deployment["spec"]["replicas"], 1);
    Ok(())
}

#[test]
fn values_for_workers_become_arguments_of_the_operator() -> Result<()> {
    let digest = format!("sha256:{}", "0".repeat(64));
    let objects = render(&[
        r#"image={"repository":"registry.example/armory","tag":"1.2"}"#,
        &format!(r#"workers.image={{"digest":"{digest}","pullPolicy":"Always"}}"#),
        r#"workers.imagePullSecrets=[{"name":"registry"}]"#,
        r#"workers.storageClass="fast""#,
        r#"workers.podDefaults={"nodeSelector":{"disk":"ssd"},"resources":{"requests":{"cpu":"2"}}}"#,
        "maintenance=true",
    ])?;
    assert_eq!(container(&objects)?["image"], "registry.example/armory:1.2");
    let args = args(&objects)?;
    for expected in [
        &format!("--image=registry.example/armory@{digest}") as &str,
        "--image-pull-policy=Always",
        "--image-pull-secret=registry",
        "--storage-class=fast",
        "--pod-defaults=/etc/armory/operator/pod-defaults.yaml",
        "--lease=backups-armory",
        "--maintenance",
    ] {
        assert!(
            args.iter().any(|arg| arg == expected),
            "{expected} in {args:?}"
        );
    }
    let maps = of_kind(&objects, "ConfigMap");
    let text = maps[0]["data"]["pod-defaults.yaml"]
        .as_str()
        .context("text")?;
    let defaults: Value = serde_saphyr::from_str(text)?;
    assert_eq!(defaults["nodeSelector"]["disk"], "ssd");

    // Nothing of this without the values.
    let plain = render(&[])?;
    assert!(of_kind(&plain, "ConfigMap").is_empty());
    let plain = self::args(&plain)?;
    for absent in ["--maintenance", "--pod-defaults", "--storage-class"] {
        assert!(
            plain.iter().all(|arg| !arg.starts_with(absent)),
            "{plain:?}"
        );
    }
    Ok(())
}

#[test]
fn pod_monitors_look_where_the_operator_does() -> Result<()> {
    let on = r#"podMonitor={"operator":true,"workers":true,"labels":{"release":"prometheus"}}"#;
    let objects = render(&[on, r#"watch.namespaces=["one"]"#])?;
    let monitors = of_kind(&objects, "PodMonitor");
    assert_eq!(monitors.len(), 2);
    for monitor in &monitors {
        assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
        assert_eq!(monitor["spec"]["podMetricsEndpoints"][0]["port"], "metrics");
    }
    let workers = monitors
        .iter()
        .find(|one| one["metadata"]["name"] == "backups-armory-workers");
    let workers = workers.context("that of the workers")?;
    assert_eq!(
        workers["spec"]["namespaceSelector"]["matchNames"],
        json!(["one"])
    );
    Ok(())
}

#[test]
fn values_that_mean_nothing_are_refused_by_name() {
    for (value, named) in [
        ("wacht.allNamespaces=true", "wacht"),
        (r#"operator={"replica":2}"#, "replica"),
        (r#"workers.podDefaults={"nodeselector":{}}"#, "nodeselector"),
        (r#"image={"digest":"latest"}"#, "digest"),
        (
            r#"watch={"allNamespaces":true,"namespaces":["one"]}"#,
            "namespaces",
        ),
    ] {
        let error = render(&[value]).unwrap_err().to_string();
        assert!(error.contains(named), "{value}: {error}");
    }
}

fn installed_definitions(cluster: &Cluster) -> Result<usize> {
    let names = cluster.kubectl(&["get", "crds", "--output", "name"])?;
    Ok(names
        .lines()
        .filter(|name| name.ends_with(".kannika.io"))
        .count())
}

/// What a user may expect of `helm install`, `upgrade` and `uninstall`; its own cluster, because definitions are everybody's.
#[test]
fn own_cluster_takes_the_chart_upgrades_it_and_keeps_definitions_and_resources() -> Result<()> {
    let cluster = Cluster::own()?;
    let namespace = cluster.namespace("chart")?;
    // As strict as a cluster can be: what the chart makes has to pass.
    let level = "pod-security.kubernetes.io/enforce=restricted";
    cluster.kubectl(&["label", "namespace", namespace.name(), level])?;
    let image = cluster.load_armory(Path::new(env!("CARGO_BIN_EXE_armory")))?;
    let (repository, tag) = image.split_once(':').context("a tag")?;
    let release = unique("release");
    let values = [
        "--namespace",
        namespace.name(),
        "--set",
        &format!("image.repository={repository},image.tag={tag}"),
        "--set",
        // Whether the operator works is tested where the operator is.
        "operator.replicas=0",
    ];
    let deployment = format!("deployment/{release}-armory");

    // An older chart, which did not have the last of the definitions.
    let older = tempfile::tempdir()?;
    let chart = older.path().join("armory");
    cache::run(Command::new("cp").args(["-r", CHART]).arg(&chart))?;
    let definitions = fs::read_to_string(chart.join("files/crds.yaml"))?;
    let (without, _) = definitions.rsplit_once("\n---\n").context("documents")?;
    fs::write(chart.join("files/crds.yaml"), without)?;
    let chart = chart.display().to_string();
    cluster.helm(&[&["install", &release, &chart][..], &values].concat())?;
    assert_eq!(installed_definitions(&cluster)?, 7);

    cluster.helm(
        &[
            &["upgrade", &release, CHART][..],
            &values,
            &["--set", "maintenance=true"],
        ]
        .concat(),
    )?;
    assert_eq!(installed_definitions(&cluster)?, 8);
    cluster.kubectl(&[
        "wait",
        "--for=condition=Established",
        "crd",
        "--all",
        "--timeout=120s",
    ])?;
    namespace.wait_until(&deployment, "in maintenance", |found| {
        found["spec"]["template"]["spec"]["containers"][0]["args"]
            .to_string()
            .contains("--maintenance")
    })?;

    // All that values can make is taken by the API server, too, and warned about by no policy.
    let rendered = helm(
        &[
            &[
                "template",
                "other",
                CHART,
                "--set-json",
                r#"watch.namespaces=["default"]"#,
                "--set",
            ][..],
            &["workers.podDefaults.labels.team=data,crds.install=false"],
            &values,
        ]
        .concat(),
    )?;
    cluster.try_apply(&rendered)?;
    let rendered = rendered_for_all(&values)?;
    cluster.try_apply(&rendered)?;

    // The rights are those of the service account, and no more.
    let account = format!(
        "--as=system:serviceaccount:{}:{release}-armory",
        namespace.name()
    );
    let can = |question: &[&str]| -> bool {
        namespace
            .kubectl(&[&["auth", "can-i", &account][..], question].concat())
            .is_ok()
    };
    assert!(can(&[
        "patch",
        "backups.kannika.io",
        "--subresource=status"
    ]));
    assert!(can(&["create", "statefulsets.apps"]));
    assert!(can(&["patch", "storages.kannika.io"]));
    assert!(can(&["create", "leases.coordination.k8s.io"]));
    assert!(can(&[
        "update",
        &format!("leases.coordination.k8s.io/{release}-armory")
    ]));
    assert!(!can(&["update", "leases.coordination.k8s.io/other"]));
    assert!(!can(&["get", "secrets"]));
    assert!(!can(&["patch", "backups.kannika.io"]));
    assert!(!can(&["list", "backups.kannika.io", "--namespace=default"]));

    namespace.apply(
        "{apiVersion: kannika.io/v1alpha, kind: EventHub, metadata: {name: hub}, \
         spec: {kafka: {properties: {bootstrap.servers: 'kafka:9092'}}}}",
    )?;
    cluster.helm(&["uninstall", &release, "--namespace", namespace.name()])?;
    namespace.wait_until_gone(&deployment)?;
    assert_eq!(installed_definitions(&cluster)?, 8);
    assert!(namespace.get("eventhub/hub")?.is_some());

    // The same release comes back to them; another one has to say that it takes them over.
    cluster.helm(&[&["install", &release, CHART][..], &values].concat())?;
    cluster.helm(&["uninstall", &release, "--namespace", namespace.name()])?;
    cluster.helm(
        &[
            &["install", "other", CHART, "--take-ownership"][..],
            &values,
        ]
        .concat(),
    )?;
    Ok(())
}

fn rendered_for_all(values: &[&str]) -> Result<String> {
    let all = [
        "--set",
        "watch.allNamespaces=true,crds.install=false,operator.priorityClassName=system-node-critical",
    ];
    helm(&[&["template", "third", CHART][..], &all, values].concat())
}
