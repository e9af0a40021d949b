//! EventHub: nothing is made of it; its status says whether it is described well.

use std::sync::Arc;

use armory_resources::kinds::event_hub::{BOOTSTRAP, BROKER_LIST};
use kube::runtime::controller::Action;

use crate::context::{Context, Outcome};
use crate::kinds::EventHub;
use crate::reason::Reason;
use crate::resolve::read_one;
use crate::status::{DESCRIBED, Finding, Word};

pub(crate) async fn reconcile(hub: Arc<EventHub>, context: Arc<Context>) -> Outcome {
    if hub.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let found = match read_one(&*hub, |_| Some(())) {
        Ok(_) => Finding::new(Word::Ready, true, Reason::Ready, DESCRIBED),
        Err(refusal) => refusal.finding(),
    };
    let properties = &hub.spec["kafka"]["properties"];
    let servers = [BOOTSTRAP, BROKER_LIST]
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
