//! Backups and restores of schema registries: part of the model, and not run yet. Their status says so.

use std::sync::Arc;

use kube::runtime::controller::Action;

use crate::context::{Context, Outcome};
use crate::kinds::{SchemaRegistryBackup, SchemaRegistryRestore, Subject};
use crate::reason::Reason;
use crate::resolve::read_one;
use crate::status::{Finding, Found, Word};

pub(crate) async fn backup(backup: Arc<SchemaRegistryBackup>, context: Arc<Context>) -> Outcome {
    let found = look(&*backup, Word::Paused, "a backup of a schema registry");
    let found = with(
        found,
        "DeploymentReady",
        Reason::DeploymentDeleted,
        Reason::DeploymentError,
    );
    context.report(&*backup, &found, |_| ()).await?;
    Ok(Action::await_change())
}

pub(crate) async fn restore(restore: Arc<SchemaRegistryRestore>, context: Arc<Context>) -> Outcome {
    let found = look(&*restore, Word::Ready, "a restore of a schema registry");
    let found = with(
        found,
        "JobCompleted",
        Reason::JobInitializing,
        Reason::JobFailed,
    );
    context.report(&*restore, &found, |_| ()).await?;
    Ok(Action::await_change())
}

fn look<K: Subject + crate::resolve::Document>(object: &K, idle: Word, what: &str) -> Finding {
    if let Err(refusal) = read_one(object, |_| Some(())) {
        return refusal.finding();
    }
    if Subject::spec(object)["enabled"] != true {
        let message =
            format!("spec.enabled is not true; {what} is not run by this version in any case");
        return Finding::new(idle, false, Reason::NotEnabled, message);
    }
    let message = format!(
        "{what} is not run by this version of Armory; the description is valid and is kept for one that does"
    );
    Finding::new(Word::Error, false, Reason::NotSupported, message)
}

/// With the documented condition, and its reason where it is not enabled, or cannot run.
fn with(found: Finding, condition: &'static str, idle: Reason, error: Reason) -> Finding {
    let (reason, message) = found.sentence();
    let reason = if reason == Reason::NotEnabled {
        idle
    } else {
        error
    };
    let condition = Found::new(condition, false, reason, message);
    found.with(condition)
}
