//! Storage → PersistentVolumeClaim, where it is a volume.
//!
//! The claim has no owner: garbage collection must not eat the only copy. A finalizer removes it with the Storage, once no
//! Backup or Restore uses it any more.

use std::sync::Arc;

use armory_resources::Resource;
use armory_resources::kinds::storage::VolumeSpec;
use kube::ResourceExt as _;
use kube::runtime::controller::Action;
use serde_json::json;

use crate::context::{Context, Outcome};
use crate::kinds::{PersistentVolumeClaim, Storage};
use crate::names::{MANAGED_BY, STORAGE_LABEL, label_value};
use crate::reason::Reason;
use crate::resolve::{References, Refusal, read_one};
use crate::status::{DESCRIBED, Finding, Word};
use crate::world::{World, find, label};

/// The volume goes with the Storage.
const FINALIZER: &str = "kannika.io/volume";

pub(crate) async fn reconcile(storage: Arc<Storage>, context: Arc<Context>) -> Outcome {
    if storage.metadata.deletion_timestamp.is_some() {
        return leave(&storage, &context).await;
    }
    let (found, location) = look(&storage, &context).await?;
    context
        .report(&*storage, &found, |status| {
            if location.is_some() {
                status.location = location;
            }
        })
        .await?;
    Ok(Action::await_change())
}

/// Makes what it needs, and finds how it is.
async fn look(storage: &Storage, context: &Context) -> kube::Result<(Finding, Option<String>)> {
    let read = read_one(storage, |said| match said {
        Resource::Storage(spec) => Some(spec.clone()),
        _ => None,
    });
    let spec = match read {
        Ok(spec) => spec,
        Err(refusal) => return Ok((refusal.finding(), None)),
    };
    let location = spec.location(&storage.name_any());
    let said = match &spec.volume {
        None => Ok(DESCRIBED.to_owned()),
        Some(volume) => keep_claim(storage, volume, context).await?,
    };
    let found = match said {
        Ok(message) => Finding::new(Word::Ready, true, Reason::Ready, message),
        Err(refusal) => refusal.finding(),
    };
    Ok((found, Some(location)))
}

/// Makes the volume's claim, or finds why it cannot be.
async fn keep_claim(
    storage: &Storage,
    volume: &VolumeSpec,
    context: &Context,
) -> kube::Result<Result<String, Refusal>> {
    let (namespace, name) = (storage.namespace().unwrap_or_default(), storage.name_any());
    let value = label_value(&name);
    let live = find(&context.world.claims, &namespace, &name);
    if let Some(live) = &live {
        if label(&**live, STORAGE_LABEL) != Some(&value) {
            let message = format!(
                "PersistentVolumeClaim {name} exists and is not this Storage's; give it the label {STORAGE_LABEL}: {value} to use it as the archive's volume, or rename the Storage"
            );
            return Ok(Err(Refusal::new(Reason::ClaimTaken, message)));
        }
        if live.metadata.deletion_timestamp.is_some() {
            let message = format!(
                "PersistentVolumeClaim {name} is being deleted, and goes when no pod uses it any more"
            );
            return Ok(Err(Refusal::new(Reason::ClaimDeleted, message)));
        }
    }
    if !has_finalizer(storage) {
        let finalizers = [storage.finalizers(), &[FINALIZER.to_owned()]].concat();
        set_finalizers(storage, &finalizers, context).await?;
    }
    // A class cannot be changed later, so one that was chosen for the claim stays.
    let class = match &live {
        Some(live) => live.spec.storage_class_name.clone(),
        None => volume
            .storage_class
            .clone()
            .or_else(|| context.settings.storage_class.clone()),
    };
    let mut labels = volume.labels.clone();
    labels.insert(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
    labels.insert(STORAGE_LABEL.to_owned(), value);
    let mut claim = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace, "labels": labels, "annotations": volume.annotations},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": volume.capacity.quantity()}},
        },
    });
    if let Some(class) = class {
        claim["spec"]["storageClassName"] = json!(class);
    }
    match context
        .writer
        .apply(&namespace, &claim, live.as_deref())
        .await
    {
        Ok(()) => {}
        // Smaller than it is, or more than its class allows: the API server says which.
        Err(kube::Error::Api(status)) if [403, 422].contains(&status.code) => {
            let message = format!(
                "PersistentVolumeClaim {name} cannot be made so: {}",
                status.message
            );
            return Ok(Err(Refusal::new(Reason::ClaimRefused, message)));
        }
        Err(error) => return Err(error),
    }
    Ok(Ok(
        match live.map(|live| live.status.phase.clone()).as_deref() {
            Some("Bound") => format!("PersistentVolumeClaim {name} is bound"),
            Some("Lost") => {
                let message = format!("PersistentVolumeClaim {name} has lost its volume");
                return Ok(Err(Refusal::new(Reason::ClaimLost, message)));
            }
            _ => format!(
                "PersistentVolumeClaim {name} is made; it is bound at the latest when a pod uses it"
            ),
        },
    ))
}

/// It is being deleted.
async fn leave(storage: &Storage, context: &Context) -> Outcome {
    if !has_finalizer(storage) {
        return Ok(Action::await_change());
    }
    let (namespace, name) = (storage.namespace().unwrap_or_default(), storage.name_any());
    let users = users(&context.world, &namespace, &name);
    if !users.is_empty() {
        let message = format!(
            "its volume stays as long as it is used, by {}; delete them, or let them name another Storage",
            users.join(", ")
        );
        let found = Finding::new(Word::Error, false, Reason::InUse, message);
        context.report(storage, &found, |_| ()).await?;
        return Ok(Action::await_change());
    }
    let claim = find(&context.world.claims, &namespace, &name);
    if let Some(claim) = claim
        && label(&*claim, STORAGE_LABEL) == Some(&label_value(&name))
        && claim.metadata.deletion_timestamp.is_none()
    {
        context
            .writer
            .delete::<PersistentVolumeClaim>(&namespace, &name)
            .await?;
    }
    // Kubernetes itself waits for the pods that still use the claim; the Storage need not.
    let mut finalizers = storage.finalizers().to_vec();
    finalizers.retain(|finalizer| finalizer != FINALIZER);
    match set_finalizers(storage, &finalizers, context).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        other => other?,
    }
    Ok(Action::await_change())
}

fn has_finalizer(storage: &Storage) -> bool {
    let finalizers = storage.finalizers();
    finalizers.iter().any(|finalizer| finalizer == FINALIZER)
}

/// Refused where somebody else changed the Storage meanwhile.
async fn set_finalizers(
    storage: &Storage,
    finalizers: &[String],
    context: &Context,
) -> kube::Result<()> {
    let namespace = storage.namespace().unwrap_or_default();
    let patch = json!({"metadata": {"finalizers": finalizers, "resourceVersion": storage.resource_version()}});
    let writer = &context.writer;
    writer
        .merge::<Storage>(&namespace, &storage.name_any(), patch)
        .await
}

/// Backups and Restores that refer to a Storage.
fn users(world: &World, namespace: &str, name: &str) -> Vec<String> {
    let here = |of: Option<String>| of.as_deref() == Some(namespace);
    let backups = world.backups.state_filter(|backup| {
        here(backup.namespace()) && References::of_backup(&backup.spec).storage == name
    });
    let restores = world.restores.state_filter(|restore| {
        here(restore.namespace()) && References::of_restore(&restore.spec).storage == name
    });
    let backups = backups
        .iter()
        .map(|backup| format!("Backup {}", backup.name_any()));
    let restores = restores
        .iter()
        .map(|restore| format!("Restore {}", restore.name_any()));
    let mut users: Vec<String> = backups.chain(restores).collect();
    users.sort();
    users
}
