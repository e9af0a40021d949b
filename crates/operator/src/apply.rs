//! Writing to the cluster: whole objects by server-side apply, and only what is not so already.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::NamespaceResourceScope;
use kube::api::{DeleteParams, Patch, PatchParams, ValidationDirective};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde_json::{Value, json};

use crate::children::owned;
use crate::kinds::{Subject, Watched};
use crate::names::{FIELD_MANAGER, short_hash};
use crate::status::Status;

/// What the operator wrote last, so that it does not write it again.
pub(crate) struct Writer {
    client: Client,
    written: Mutex<HashMap<String, Written>>,
}

#[derive(Debug, Clone, PartialEq)]
struct Written {
    hash: String,
    uid: Option<String>,
    /// The object's generation, or its resource version where it has none.
    version: String,
}

impl Writer {
    pub(crate) fn new(client: Client) -> Writer {
        Writer {
            client,
            written: Mutex::default(),
        }
    }

    pub(crate) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Watched + Resource<Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(crate) fn events(&self, namespace: &str) -> Api<k8s_openapi::api::core::v1::Event> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// A ConfigMap of a user.
    pub(crate) async fn config_map(
        &self,
        namespace: &str,
        name: &str,
    ) -> kube::Result<Option<k8s_openapi::api::core::v1::ConfigMap>> {
        let api: Api<k8s_openapi::api::core::v1::ConfigMap> =
            Api::namespaced(self.client.clone(), namespace);
        api.get_opt(name).await
    }

    /// Whether there is an object of a name that was not made for `owner`.
    pub(crate) async fn is_anothers<K>(
        &self,
        namespace: &str,
        name: &str,
        owner: &impl Resource,
    ) -> kube::Result<bool>
    where
        K: Watched + Resource<Scope = NamespaceResourceScope>,
    {
        let found = self.api::<K>(namespace).get_metadata_opt(name).await?;
        Ok(found.is_some_and(|found| !owned(&found, owner)))
    }

    /// Makes an object what `value` says. Costs nothing where it was made so and nobody changed it since.
    pub(crate) async fn apply<K>(
        &self,
        namespace: &str,
        value: &Value,
        live: Option<&K>,
    ) -> kube::Result<()>
    where
        K: Watched + Resource<Scope = NamespaceResourceScope>,
    {
        let name = value["metadata"]["name"].as_str().unwrap_or_default();
        let key = format!("{}/{namespace}/{name}", K::kind(&()));
        let hash = short_hash(value.to_string().as_bytes());
        if let Some(live) = live {
            let seen = written(&hash, live);
            if self.lock().get(&key) == Some(&seen) {
                return Ok(());
            }
        }
        let object = self
            .api::<K>(namespace)
            .patch(name, &params(), &Patch::Apply(value))
            .await?;
        self.lock().insert(key, written(&hash, &object));
        Ok(())
    }

    /// Changes a few fields of an object.
    pub(crate) async fn merge<K>(
        &self,
        namespace: &str,
        name: &str,
        patch: Value,
    ) -> kube::Result<()>
    where
        K: Watched + Resource<Scope = NamespaceResourceScope>,
    {
        let params = PatchParams {
            force: false,
            ..params()
        };
        self.api::<K>(namespace)
            .patch(name, &params, &Patch::Merge(patch))
            .await
            .map(|_| ())
    }

    /// Deletes an object, and what belongs to it in the background. One that is gone already is no error.
    pub(crate) async fn delete<K>(&self, namespace: &str, name: &str) -> kube::Result<()>
    where
        K: Watched + Resource<Scope = NamespaceResourceScope>,
    {
        match self
            .api::<K>(namespace)
            .delete(name, &DeleteParams::background())
            .await
        {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        }
    }

    /// Writes a status that differs from the one that is there.
    pub(crate) async fn status<K>(&self, object: &K, status: &Status) -> kube::Result<()>
    where
        K: Subject + Resource<Scope = NamespaceResourceScope>,
    {
        if object.status() == Some(status) {
            return Ok(());
        }
        let namespace = object.namespace().unwrap_or_default();
        let patch = json!({"status": status});
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patched = self
            .api::<K>(&namespace)
            .patch_status(&object.name_any(), &params, &Patch::Merge(patch))
            .await;
        match patched {
            // It was deleted meanwhile.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => other.map(|_| ()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Written>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn written<K: Watched>(hash: &str, object: &K) -> Written {
    let meta = object.meta();
    let generation = meta.generation.map(|generation| generation.to_string());
    Written {
        hash: hash.to_owned(),
        uid: meta.uid.clone(),
        version: generation
            .or_else(|| meta.resource_version.clone())
            .unwrap_or_default(),
    }
}

fn params() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        force: true,
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::default()
    }
}
