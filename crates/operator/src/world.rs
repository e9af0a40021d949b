//! What the operator knows of a namespace, or of all: every object that it looks at, kept up to date by watches.
//!
//! A reconciliation reads from here only, and so costs no request. One watch a kind feeds both the store and the queues
//! of all that the changed object concerns.

use std::sync::Arc;

use futures::channel::mpsc::UnboundedSender;
use futures::{FutureExt as _, Stream, StreamExt as _, TryStreamExt as _, future};
use kube::runtime::reflector::{self, ObjectRef, Store, store::Writer};
use kube::runtime::watcher::{self, watcher};
use kube::runtime::{WatchStreamExt as _, reflector as reflect};
use kube::{Api, Client, Resource, ResourceExt};

use crate::kinds::{
    Backup, ConfigMap, Credentials, EventHub, Job, PersistentVolumeClaim, Pod, Restore,
    SchemaRegistryBackup, SchemaRegistryRestore, Service, StatefulSet, Storage, Watched,
};
use crate::names::{BACKUP_LABEL, MANAGED_BY, RESTORE_LABEL, STORAGE_LABEL, label_value};
use crate::resolve::References;

/// Where the operator works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// In one namespace.
    Namespace(String),
    /// In every namespace.
    All,
}

impl Scope {
    /// The API of a kind there.
    pub(crate) fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Watched + Resource<Scope = k8s_openapi::NamespaceResourceScope>,
    {
        match self {
            Scope::Namespace(namespace) => Api::namespaced(client.clone(), namespace),
            Scope::All => Api::all(client.clone()),
        }
    }
}

/// The stores.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) backups: Store<Backup>,
    pub(crate) restores: Store<Restore>,
    pub(crate) storages: Store<Storage>,
    pub(crate) event_hubs: Store<EventHub>,
    pub(crate) credentials: Store<Credentials>,
    pub(crate) registry_backups: Store<SchemaRegistryBackup>,
    pub(crate) registry_restores: Store<SchemaRegistryRestore>,
    pub(crate) stateful_sets: Store<StatefulSet>,
    pub(crate) jobs: Store<Job>,
    pub(crate) pods: Store<Pod>,
    pub(crate) config_maps: Store<ConfigMap>,
    pub(crate) services: Store<Service>,
    pub(crate) claims: Store<PersistentVolumeClaim>,
}

/// What has to be looked at again.
#[derive(Debug, Clone)]
pub(crate) struct Queues {
    pub(crate) backups: UnboundedSender<ObjectRef<Backup>>,
    pub(crate) restores: UnboundedSender<ObjectRef<Restore>>,
    pub(crate) storages: UnboundedSender<ObjectRef<Storage>>,
    pub(crate) event_hubs: UnboundedSender<ObjectRef<EventHub>>,
    pub(crate) registry_backups: UnboundedSender<ObjectRef<SchemaRegistryBackup>>,
    pub(crate) registry_restores: UnboundedSender<ObjectRef<SchemaRegistryRestore>>,
}

/// An object by the name that others use for it.
pub(crate) fn find<K: Watched>(store: &Store<K>, namespace: &str, name: &str) -> Option<Arc<K>> {
    store.get(&ObjectRef::new(name).within(namespace))
}

/// The value of a label.
pub(crate) fn label<'a>(object: &'a impl ResourceExt, key: &str) -> Option<&'a str> {
    object.labels().get(key).map(String::as_str)
}

/// Objects of a namespace with a label.
pub(crate) fn labelled<K: Watched>(
    store: &Store<K>,
    namespace: &str,
    key: &str,
    value: &str,
) -> Vec<Arc<K>> {
    let mut found = store.state_filter(|object| {
        object.namespace().as_deref() == Some(namespace) && label(object, key) == Some(value)
    });
    found.sort_by_key(|object| object.name_any());
    found
}

/// Starts the watches. The future they come with runs them, and never ends; the stores are filled when `ready` resolves.
pub(crate) fn start(
    scope: &Scope,
    client: &Client,
    queues: Queues,
) -> (
    World,
    impl Future<Output = ()>,
    impl Future<Output = ()> + use<>,
) {
    let (backups, w_backups) = store();
    let (restores, w_restores) = store();
    let (storages, w_storages) = store();
    let (event_hubs, w_event_hubs) = store();
    let (credentials, w_credentials) = store();
    let (registry_backups, w_registry_backups) = store();
    let (registry_restores, w_registry_restores) = store();
    let (stateful_sets, w_stateful_sets) = store();
    let (jobs, w_jobs) = store();
    let (pods, w_pods) = store();
    let (config_maps, w_config_maps) = store();
    let (services, w_services) = store();
    let (claims, w_claims) = store();
    let world = World {
        backups,
        restores,
        storages,
        event_hubs,
        credentials,
        registry_backups,
        registry_restores,
        stateful_sets,
        jobs,
        pods,
        config_maps,
        services,
        claims,
    };
    let route = Router {
        world: world.clone(),
        queues,
    };
    let r = &route;
    let watches = vec![
        feed(scope, client, w_backups, r, |r, object| r.backup(object)),
        feed(scope, client, w_restores, r, |r, object| r.restore(object)),
        feed(scope, client, w_storages, r, |r, object| r.storage(object)),
        feed(scope, client, w_event_hubs, r, |r, object| {
            r.event_hub(object)
        }),
        feed(scope, client, w_credentials, r, |r, object| {
            r.credentials(object)
        }),
        feed(scope, client, w_registry_backups, r, |r, object| {
            let _ = r
                .queues
                .registry_backups
                .unbounded_send(ObjectRef::from_obj(object));
        }),
        feed(scope, client, w_registry_restores, r, |r, object| {
            let _ = r
                .queues
                .registry_restores
                .unbounded_send(ObjectRef::from_obj(object));
        }),
        feed(scope, client, w_stateful_sets, r, |r, object| {
            r.child(object)
        }),
        feed(scope, client, w_jobs, r, |r, object| r.child(object)),
        feed(scope, client, w_pods, r, |r, object| r.child(object)),
        feed(scope, client, w_config_maps, r, |_, _| ()),
        feed(scope, client, w_services, r, |_, _| ()),
        feed(scope, client, w_claims, r, |r, object| r.claim(object)),
    ];
    let ready = {
        let world = world.clone();
        async move { world.wait_until_ready().await }
    };
    (world, future::join_all(watches).map(|_| ()), ready)
}

fn store<K: Watched>() -> (Store<K>, Writer<K>) {
    reflector::store()
}

/// Keeps one store up to date, and tells the router of every change.
fn feed<K: Watched + Resource<Scope = k8s_openapi::NamespaceResourceScope>>(
    scope: &Scope,
    client: &Client,
    writer: Writer<K>,
    router: &Router,
    tell: impl Fn(&Router, &K) + Send + 'static,
) -> future::BoxFuture<'static, ()> {
    let mut config = watcher::Config::default();
    if K::OURS_ONLY {
        let (key, value) = MANAGED_BY;
        config = config.labels(&format!("{key}={value}"));
    }
    let kind = K::kind(&()).into_owned();
    let events = watcher(scope.api::<K>(client), config)
        .modify(|object| {
            // Large, and of no use here.
            object.managed_fields_mut().clear();
        })
        .default_backoff();
    let router = router.clone();
    async move {
        // The store has the change before anybody hears of it; an object that is gone is told of, too.
        let told = reflect(writer, events).inspect_err(move |error| {
            tracing::warn!("watching {kind} broke off and is tried again: {error}");
        });
        let mut told = std::pin::pin!(told);
        while let Some(event) = told.next().await {
            match event {
                Ok(watcher::Event::Apply(object) | watcher::Event::Delete(object)) => {
                    tell(&router, &object);
                }
                Ok(watcher::Event::InitDone) => router.everything(),
                _ => {}
            }
        }
    }
    .boxed()
}

impl World {
    async fn wait_until_ready(&self) {
        // A writer is never dropped while the watches run.
        let _ = futures::try_join!(
            self.backups.wait_until_ready(),
            self.restores.wait_until_ready(),
            self.storages.wait_until_ready(),
            self.event_hubs.wait_until_ready(),
            self.credentials.wait_until_ready(),
            self.registry_backups.wait_until_ready(),
            self.registry_restores.wait_until_ready(),
            self.stateful_sets.wait_until_ready(),
            self.jobs.wait_until_ready(),
            self.pods.wait_until_ready(),
            self.config_maps.wait_until_ready(),
            self.services.wait_until_ready(),
            self.claims.wait_until_ready(),
        );
    }
}

/// Knows whom a change concerns.
#[derive(Clone)]
struct Router {
    world: World,
    queues: Queues,
}

impl Router {
    fn backup(&self, backup: &Backup) {
        let _ = self
            .queues
            .backups
            .unbounded_send(ObjectRef::from_obj(backup));
        // A Storage that is to go waits for those that use it.
        self.storage_named(backup, &References::of_backup(&backup.spec).storage);
    }

    fn restore(&self, restore: &Restore) {
        let _ = self
            .queues
            .restores
            .unbounded_send(ObjectRef::from_obj(restore));
        self.storage_named(restore, &References::of_restore(&restore.spec).storage);
    }

    fn storage_named(&self, from: &impl ResourceExt, name: &str) {
        let namespace = from.namespace().unwrap_or_default();
        let leaving = find(&self.world.storages, &namespace, name)
            .filter(|storage| storage.metadata.deletion_timestamp.is_some());
        if let Some(storage) = leaving {
            let _ = self
                .queues
                .storages
                .unbounded_send(ObjectRef::from_obj(&*storage));
        }
    }

    fn storage(&self, storage: &Storage) {
        let _ = self
            .queues
            .storages
            .unbounded_send(ObjectRef::from_obj(storage));
        self.those_that(storage, |references, name| references.storage == name);
    }

    fn event_hub(&self, hub: &EventHub) {
        let _ = self
            .queues
            .event_hubs
            .unbounded_send(ObjectRef::from_obj(hub));
        self.those_that(hub, |references, name| references.event_hub == name);
    }

    fn credentials(&self, credentials: &Credentials) {
        self.those_that(credentials, |references, name| {
            references
                .credentials
                .iter()
                .any(|(_, other)| other == name)
        });
    }

    /// Tells the Backups and Restores that refer to an object.
    fn those_that(&self, object: &impl ResourceExt, refer: impl Fn(&References, &str) -> bool) {
        let (namespace, name) = (object.namespace(), object.name_any());
        for backup in self.world.backups.state() {
            if backup.namespace() == namespace && refer(&References::of_backup(&backup.spec), &name)
            {
                let _ = self
                    .queues
                    .backups
                    .unbounded_send(ObjectRef::from_obj(&*backup));
            }
        }
        for restore in self.world.restores.state() {
            if restore.namespace() == namespace
                && refer(&References::of_restore(&restore.spec), &name)
            {
                let _ = self
                    .queues
                    .restores
                    .unbounded_send(ObjectRef::from_obj(&*restore));
            }
        }
    }

    /// A workload or pod: it concerns the one that it was made for.
    fn child(&self, object: &impl ResourceExt) {
        let namespace = object.namespace();
        if let Some(value) = label(object, BACKUP_LABEL) {
            let of = |backup: &Backup| {
                backup.namespace() == namespace && label_value(&backup.name_any()) == value
            };
            if let Some(backup) = self.world.backups.find(of) {
                let _ = self
                    .queues
                    .backups
                    .unbounded_send(ObjectRef::from_obj(&*backup));
            }
        }
        if let Some(value) = label(object, RESTORE_LABEL) {
            let of = |restore: &Restore| {
                restore.namespace() == namespace && label_value(&restore.name_any()) == value
            };
            if let Some(restore) = self.world.restores.find(of) {
                let _ = self
                    .queues
                    .restores
                    .unbounded_send(ObjectRef::from_obj(&*restore));
            }
        }
    }

    /// A volume claim: that of a Storage, or one that plugins lie on.
    fn claim(&self, claim: &PersistentVolumeClaim) {
        let (namespace, name) = (claim.namespace(), claim.name_any());
        if let Some(value) = label(claim, STORAGE_LABEL) {
            let of = |storage: &Storage| {
                storage.namespace() == namespace && label_value(&storage.name_any()) == value
            };
            if let Some(storage) = self.world.storages.find(of) {
                self.storage(&storage);
            }
        }
        // Whether it is used is told by its name standing there; one look too many does no harm.
        let quoted = format!("\"{name}\"");
        let named = |spec: &serde_json::Value| spec.to_string().contains(&quoted);
        for backup in self.world.backups.state() {
            if backup.namespace() == namespace && named(&backup.spec) {
                let _ = self
                    .queues
                    .backups
                    .unbounded_send(ObjectRef::from_obj(&*backup));
            }
        }
        for restore in self.world.restores.state() {
            let report = restore.annotations().values().any(|value| *value == name);
            if restore.namespace() == namespace && (report || named(&restore.spec)) {
                let _ = self
                    .queues
                    .restores
                    .unbounded_send(ObjectRef::from_obj(&*restore));
            }
        }
    }

    /// After a first or a renewed listing: whatever changed meanwhile.
    fn everything(&self) {
        fn all<K: Watched>(store: &Store<K>, queue: &UnboundedSender<ObjectRef<K>>) {
            for object in store.state() {
                let _ = queue.unbounded_send(ObjectRef::from_obj(&*object));
            }
        }
        all(&self.world.backups, &self.queues.backups);
        all(&self.world.restores, &self.queues.restores);
        all(&self.world.storages, &self.queues.storages);
        all(&self.world.event_hubs, &self.queues.event_hubs);
        all(&self.world.registry_backups, &self.queues.registry_backups);
        all(
            &self.world.registry_restores,
            &self.queues.registry_restores,
        );
    }
}

/// A stream of requests out of a queue.
pub(crate) fn requests<K: Watched>(
    queue: futures::channel::mpsc::UnboundedReceiver<ObjectRef<K>>,
) -> impl Stream<Item = Result<ObjectRef<K>, std::convert::Infallible>> {
    queue.map(Ok)
}

#[cfg(test)]
impl World {
    /// Nothing is known.
    pub(crate) fn empty() -> World {
        World {
            backups: store().0,
            restores: store().0,
            storages: store().0,
            event_hubs: store().0,
            credentials: store().0,
            registry_backups: store().0,
            registry_restores: store().0,
            stateful_sets: store().0,
            jobs: store().0,
            pods: store().0,
            config_maps: store().0,
            services: store().0,
            claims: store().0,
        }
    }
}

/// A store of these objects.
#[cfg(test)]
pub(crate) fn store_of<K: Watched>(
    objects: impl IntoIterator<Item = serde_json::Value>,
) -> Store<K> {
    let (store, mut writer) = store();
    for object in objects {
        let object = serde_json::from_value(object).unwrap();
        writer.apply_watcher_event(&watcher::Event::Apply(object));
    }
    store
}
