//! Backups and restores of schema registries: part of the model, and not run yet. Their status says so.

use std::sync::Arc;

use kube::runtime::controller::Action;

use crate::context::{Context, Outcome};
use crate::kinds::{SchemaRegistryBackup, SchemaRegistryRestore, Subject};
use crate::resolve::read_one;
use crate::status::{Finding, Found, Word};

pub(crate) async fn backup(backup: Arc<SchemaRegistryBackup>, context: Arc<Context>) -> Outcome {
    let found = look(&*backup, Word::Paused, "a backup of a schema registry");
    let found = deployment(found);
    context.report(&*backup, &found, |_| ()).await?;
    Ok(Action::await_change())
}

pub(crate) async fn restore(restore: Arc<SchemaRegistryRestore>, context: Arc<Context>) -> Outcome {
    let found = look(&*restore, Word::Ready, "a restore of a schema registry");
    let (reason, message) = found.sentence();
    let reason = match reason {
        "NotEnabled" => "JobInitializing",
        _ => "JobFailed",
    };
    let job = Found::new("JobCompleted", false, reason, message);
    context.report(&*restore, &found.with(job), |_| ()).await?;
    Ok(Action::await_change())
}

fn look<K: Subject + crate::resolve::Document>(object: &K, idle: Word, what: &str) -> Finding {
    if let Some(refusal) = read_one(object).1 {
        return Finding::new(Word::Error, false, refusal.reason, refusal.message);
    }
    if Subject::spec(object)["enabled"] != true {
        let message =
            format!("spec.enabled is not true; {what} is not run by this version in any case");
        return Finding::new(idle, false, "NotEnabled", message);
    }
    let message = format!(
        "{what} is not run by this version of Armory; the description is valid and is kept for one that does"
    );
    Finding::new(Word::Error, false, "NotSupported", message)
}

fn deployment(found: Finding) -> Finding {
    let (reason, message) = found.sentence();
    let reason = match reason {
        "NotEnabled" => "DeploymentDeleted",
        _ => "DeploymentError",
    };
    let condition = Found::new("DeploymentReady", false, reason, message);
    found.with(condition)
}
