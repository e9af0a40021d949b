//! The operator as a whole: it waits to lead, watches, and reconciles until it is stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::channel::mpsc::{UnboundedReceiver, unbounded};
use futures::{FutureExt as _, StreamExt as _, future};
use kube::runtime::controller::{self, Action};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, Config};
use tokio_util::sync::CancellationToken;

use crate::apply::Writer;
use crate::context::{Context, Outcome, Settings};
use crate::kinds::Watched;
use crate::lease::Candidate;
use crate::pod::{Image, PodFields};
use crate::world::{Queues, Scope, requests, start};
use crate::{backup, event_hub, registry, restore, storage};

/// Changes that come in so short a time are looked at once.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// Reconciliations of one kind at a time.
const CONCURRENCY: u16 = 8;
/// After a request of a reconciliation failed.
const RETRY: Duration = Duration::from_secs(5);

/// How the operator runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it works. Each has its own watches.
    pub scopes: Vec<Scope>,
    /// The image of workers.
    pub image: Image,
    /// The class of a volume Storage that names none.
    pub storage_class: Option<String>,
    /// What all pods have where their resource says nothing.
    pub pod_defaults: PodFields,
    /// The namespace of the Lease, and its name.
    pub lease: (String, String),
    /// Who this is: the pod's name.
    pub identity: String,
    /// Reconcile nothing.
    pub maintenance: bool,
}

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// No way to a cluster is configured.
    #[error("no Kubernetes cluster is configured: {0}; run it in a pod, or set KUBECONFIG")]
    Config(String),
    /// A client could not be made of the configuration.
    #[error("cannot talk to Kubernetes")]
    Client(#[source] Box<kube::Error>),
    /// Another leads now; whoever supervises this process starts it again, as a candidate.
    #[error("this operator does not lead any more: {0}")]
    Lost(String),
}

/// What can be told of a running operator.
#[derive(Debug, Default)]
pub struct Health {
    leads: AtomicBool,
    maintenance: AtomicBool,
    reconciliations: AtomicU64,
    failures: AtomicU64,
}

impl Health {
    /// Whether this one leads.
    pub fn leads(&self) -> bool {
        self.leads.load(Ordering::Relaxed)
    }

    /// Whether it reconciles nothing because it was told so.
    pub fn in_maintenance(&self) -> bool {
        self.maintenance.load(Ordering::Relaxed)
    }

    /// Reconciliations since the start, and those of them that failed.
    pub fn reconciliations(&self) -> (u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (load(&self.reconciliations), load(&self.failures))
    }
}

/// Runs the operator until `stop`; the lease is given back then.
pub async fn run(
    options: Options,
    health: Arc<Health>,
    stop: CancellationToken,
) -> Result<(), OperatorError> {
    let config = Config::infer()
        .await
        .map_err(|error| OperatorError::Config(error.to_string()))?;
    let client =
        Client::try_from(config).map_err(|error| OperatorError::Client(Box::new(error)))?;
    if options.maintenance {
        health.maintenance.store(true, Ordering::Relaxed);
        tracing::warn!("maintenance: nothing is reconciled, pods that run go on as they are");
        stop.cancelled().await;
        return Ok(());
    }
    let (namespace, name) = &options.lease;
    let mut candidate = Candidate::new(client.clone(), namespace, name, &options.identity);
    tokio::select! {
        () = stop.cancelled() => return Ok(()),
        () = candidate.win() => {}
    }
    tracing::info!("{} leads", options.identity);
    health.leads.store(true, Ordering::Relaxed);
    let work = options
        .scopes
        .iter()
        .map(|scope| control(scope, &client, &options, &health));
    let ended = tokio::select! {
        () = stop.cancelled() => Ok(()),
        reason = candidate.keep() => Err(OperatorError::Lost(reason)),
        // It does not end by itself.
        _ = future::join_all(work) => Ok(()),
    };
    health.leads.store(false, Ordering::Relaxed);
    if ended.is_ok() {
        candidate.resign().await;
    }
    ended
}

/// Watches a scope and reconciles what is in it.
async fn control(scope: &Scope, client: &Client, options: &Options, health: &Arc<Health>) {
    let (q_backups, backups) = unbounded();
    let (q_restores, restores) = unbounded();
    let (q_storages, storages) = unbounded();
    let (q_event_hubs, event_hubs) = unbounded();
    let (q_registry_backups, registry_backups) = unbounded();
    let (q_registry_restores, registry_restores) = unbounded();
    let queues = Queues {
        backups: q_backups,
        restores: q_restores,
        storages: q_storages,
        event_hubs: q_event_hubs,
        registry_backups: q_registry_backups,
        registry_restores: q_registry_restores,
    };
    let (world, watches, ready) = start(scope, client, queues);
    let reporter = Reporter {
        controller: "armory-operator".to_owned(),
        instance: Some(options.identity.clone()),
    };
    let context = Arc::new(Context {
        world: world.clone(),
        writer: Writer::new(client.clone()),
        recorder: Recorder::new(client.clone(), reporter),
        settings: Settings {
            image: options.image.clone(),
            storage_class: options.storage_class.clone(),
            pod_defaults: options.pod_defaults.clone(),
        },
    });
    let c = &context;
    let work = async {
        // Nothing is decided on half a picture.
        ready.await;
        tracing::info!("watching {scope:?}");
        future::join_all([
            apply(world.backups.clone(), backups, c, health, backup::reconcile).boxed(),
            apply(
                world.restores.clone(),
                restores,
                c,
                health,
                restore::reconcile,
            )
            .boxed(),
            apply(
                world.storages.clone(),
                storages,
                c,
                health,
                storage::reconcile,
            )
            .boxed(),
            apply(
                world.event_hubs.clone(),
                event_hubs,
                c,
                health,
                event_hub::reconcile,
            )
            .boxed(),
            apply(
                world.registry_backups.clone(),
                registry_backups,
                c,
                health,
                registry::backup,
            )
            .boxed(),
            apply(
                world.registry_restores.clone(),
                registry_restores,
                c,
                health,
                registry::restore,
            )
            .boxed(),
        ])
        .await;
    };
    future::join(watches, work).await;
}

/// Reconciles the objects of a kind that its queue names.
async fn apply<K, F>(
    store: Store<K>,
    queue: UnboundedReceiver<ObjectRef<K>>,
    context: &Arc<Context>,
    health: &Arc<Health>,
    reconcile: impl Fn(Arc<K>, Arc<Context>) -> F,
) where
    K: Watched,
    F: Future<Output = Outcome> + Send + 'static,
{
    let config = controller::Config::default()
        .debounce(DEBOUNCE)
        .concurrency(CONCURRENCY);
    let results = controller::applier(
        |object, context| reconcile(object, context).boxed(),
        |_, _, _| Action::requeue(RETRY),
        Arc::clone(context),
        store,
        requests(queue),
        config,
    );
    results
        .for_each(|result| {
            health.reconciliations.fetch_add(1, Ordering::Relaxed);
            match result {
                Ok(_) => {}
                // It was deleted before its turn came.
                Err(controller::Error::ObjectNotFound(_)) => {}
                Err(error) => {
                    health.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!("{}", armory_troubles::sentence(&error));
                }
            }
            future::ready(())
        })
        .await;
}
