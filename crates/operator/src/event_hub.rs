//! EventHub: nothing is made of it; its status says whether it is described well.

use std::sync::Arc;

use kube::runtime::controller::Action;

use crate::context::{Context, Outcome};
use crate::kinds::EventHub;
use crate::resolve::read_one;
use crate::status::{Finding, Word};

pub(crate) async fn reconcile(hub: Arc<EventHub>, context: Arc<Context>) -> Outcome {
    if hub.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let found = match read_one(&*hub).1 {
        Some(refusal) => Finding::new(Word::Error, false, refusal.reason, refusal.message),
        None => {
            let message = "it is described completely; a Backup or a Restore that uses it tells whether it can be reached";
            Finding::new(Word::Ready, true, "Ready", message)
        }
    };
    let properties = &hub.spec["kafka"]["properties"];
    let servers = ["bootstrap.servers", "metadata.broker.list"]
        .into_iter()
        .find_map(|key| properties[key].as_str())
        .map(str::to_owned);
    context
        .report(&*hub, &found, |status| {
            status.kind = Some("Kafka".to_owned());
            if servers.is_some() {
                status.location = servers;
            }
        })
        .await?;
    Ok(Action::await_change())
}
