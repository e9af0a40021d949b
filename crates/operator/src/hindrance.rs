//! Why Kubernetes makes no pod: a StatefulSet and a Job tell it in events only.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::ListParams;

use crate::context::Context;

/// The last refusal to make a pod for a workload, in a sentence. Asked for only while a workload has none.
pub(crate) async fn of(context: &Context, workload: &ObjectMeta, kind: &str) -> Option<String> {
    let namespace = workload.namespace.as_deref()?;
    let uid = workload.uid.as_deref()?;
    let events: Api<k8s_openapi::api::core::v1::Event> = context.writer.events(namespace);
    let fields = format!("involvedObject.uid={uid},reason=FailedCreate");
    let found = events.list(&ListParams::default().fields(&fields)).await;
    let found = match found {
        Ok(found) => found.items,
        Err(error) => {
            tracing::warn!("cannot list the events of {kind}: {error}");
            return None;
        }
    };
    let last = found.into_iter().max_by_key(|event| {
        event
            .last_timestamp
            .clone()
            .map(|time| time.0)
            .or(event.event_time.clone().map(|time| time.0))
    })?;
    let name = workload.name.as_deref()?;
    Some(format!("{kind} {name}: {}", last.message?))
}
