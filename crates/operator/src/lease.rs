//! Leader election: one operator at a time works, however many run.
//!
//! The rules are those of Kubernetes' own components (client-go `leaderelection`): a Lease names its holder, who renews it; another
//! takes it when it was not renewed for its duration *by the taker's own clock*, so that clocks need not agree. Writes carry the
//! resource version that was read, so of two takers one fails.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};

/// A lease that was not renewed for so long may be taken.
const DURATION: Duration = Duration::from_secs(15);
/// A leader that could not renew for so long gives up, before anybody may take over.
const DEADLINE: Duration = Duration::from_secs(10);
/// Between two attempts.
const RETRY: Duration = Duration::from_secs(2);

/// A candidate.
pub(crate) struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    /// What was seen of another's lease, and when.
    seen: Option<(Option<String>, Instant)>,
}

impl Candidate {
    pub(crate) fn new(client: Client, namespace: &str, name: &str, identity: &str) -> Candidate {
        Candidate {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            seen: None,
        }
    }

    /// Waits until this one leads.
    pub(crate) async fn win(&mut self) {
        let mut told = false;
        loop {
            match self.attempt().await {
                Ok(None) => return,
                Ok(Some(holder)) => {
                    if !told {
                        tracing::info!("{holder} leads; waiting for the lease {}", self.name);
                        told = true;
                    }
                }
                Err(error) => tracing::warn!("cannot take the lease {}: {error}", self.name),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Renews as long as that works, and returns why it does no longer.
    pub(crate) async fn keep(&mut self) -> String {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(RETRY).await;
            match tokio::time::timeout(DEADLINE, self.attempt()).await {
                Ok(Ok(None)) => renewed = Instant::now(),
                Ok(Ok(Some(holder))) => {
                    return format!("{holder} has taken the lease {}", self.name);
                }
                Ok(Err(error)) => tracing::warn!("cannot renew the lease {}: {error}", self.name),
                Err(_) => tracing::warn!("cannot renew the lease {}: no answer", self.name),
            }
            if renewed.elapsed() > DEADLINE {
                return format!(
                    "the lease {} could not be renewed for {DEADLINE:?}",
                    self.name
                );
            }
        }
    }

    /// Gives the lease back, so that the next one need not wait.
    pub(crate) async fn resign(&mut self) {
        let Ok(Some(mut lease)) = self.api.get_opt(&self.name).await else {
            return;
        };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() == Some(&self.identity) {
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(1);
            let _ = self
                .api
                .replace(&self.name, &PostParams::default(), &lease)
                .await;
        }
    }

    /// Takes or renews it. Returns who has it, if that is another.
    async fn attempt(&mut self) -> kube::Result<Option<String>> {
        let now = MicroTime(Timestamp::now());
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(self.name.clone()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.spec(now, 0)),
            };
            self.api.create(&PostParams::default(), &lease).await?;
            return Ok(None);
        };
        let version = lease.metadata.resource_version.clone();
        let spec = lease.spec.get_or_insert_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        let transitions = spec.lease_transitions.unwrap_or_default();
        if holder == self.identity {
            spec.renew_time = Some(now);
        } else {
            if !holder.is_empty() && !self.expired(version) {
                return Ok(Some(holder));
            }
            *spec = self.spec(now, transitions + 1);
        }
        match self
            .api
            .replace(&self.name, &PostParams::default(), &lease)
            .await
        {
            // Somebody was faster; the next look tells who.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Some("another".to_owned())),
            Err(error) => Err(error),
            Ok(_) => Ok(None),
        }
    }

    /// Whether a lease stayed as it is for longer than it lasts.
    fn expired(&mut self, version: Option<String>) -> bool {
        match &self.seen {
            Some((seen, since)) if *seen == version => since.elapsed() > DURATION,
            _ => {
                self.seen = Some((version, Instant::now()));
                false
            }
        }
    }

    fn spec(&self, now: MicroTime, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(DURATION.as_secs() as i32),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}
