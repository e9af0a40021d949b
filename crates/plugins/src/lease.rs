//! A chain in the hands of one thread: records go in, verdicts come out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::chain::{ChainState, Context};
use crate::counters::count;
use crate::host::contract::{GuestRecord, Outcome, Returned};
use crate::host::instance::{Fault, Instance, Wear};
use crate::{Action, Failed, FailureClass, OwnedRecord, Phase, PluginError, RecordRef, Verdict};

/// An instance of every entry of a chain, for one batch of one partition. Dropping it lets the instances rest.
#[derive(Debug)]
pub struct Lease {
    chain: Arc<ChainState>,
    /// One for every slot. `None` after a fault or when it was worn: the next call starts a fresh one.
    instances: Vec<Option<Instance>>,
    booked_bytes: u64,
}

/// How an entry failed on a record.
struct Failure {
    class: FailureClass,
    message: String,
    backtrace: Vec<String>,
}

impl Lease {
    pub(crate) fn take(chain: Arc<ChainState>) -> Result<Self, PluginError> {
        let wanted: Vec<_> = chain
            .slots
            .iter()
            .map(|slot| (slot.id, slot.largest_bytes.load(Ordering::Relaxed)))
            .collect();
        let taken = chain.host.shared().pool.take(&wanted);
        let mut lease = Self {
            chain,
            instances: taken.instances,
            booked_bytes: taken.booked_bytes,
        };
        for index in 0..lease.instances.len() {
            lease.instance(index)?;
        }
        Ok(lease)
    }

    pub(crate) fn requirements(&mut self, partitions: u64) -> Result<u64, PluginError> {
        let mut required = partitions;
        for index in 0..self.instances.len() {
            let entry = Arc::clone(&self.chain.slots[index].entry);
            let answer = self.instance(index)?.requirements(&entry, required);
            let (class, message) = match answer {
                Ok(partitions) if (1..=i32::MAX as u64).contains(&partitions) => {
                    required = partitions;
                    continue;
                }
                Ok(partitions) => {
                    let message = format!(
                        "it asks for {partitions} partitions; a topic has between 1 and {}",
                        i32::MAX
                    );
                    (FailureClass::Error, message)
                }
                Err(message) => {
                    self.instances[index] = None;
                    (FailureClass::Fault, message)
                }
            };
            return Err(self.chain.error(
                &self.chain.slots[index],
                Phase::Requirements,
                class,
                None,
                message,
            ));
        }
        Ok(required)
    }

    /// Bytes of memory that the instances in this lease have now.
    pub fn memory_bytes(&self) -> u64 {
        self.instances.iter().flatten().map(Instance::bytes).sum()
    }

    /// Hands a record to every plugin in turn, and says what became of it. Records of a partition are to be handed over in
    /// the order of their offsets.
    ///
    /// After an error the lease is still good for other records: whether to go on is the caller's business.
    pub fn transform(&mut self, record: RecordRef<'_>) -> Result<Verdict, PluginError> {
        let mut changed: Option<OwnedRecord> = None;
        for index in 0..self.instances.len() {
            let outcome = match guest_record(&record, changed.as_ref()) {
                Ok(told) => self
                    .call(index, &told, &record)?
                    .map(|outcome| self.compare(index, &told, outcome)),
                Err(failure) => Err(failure),
            };
            let slot = &self.chain.slots[index];
            let (accepted, failure) = match outcome {
                Ok(Step::Same) => (None, None),
                Ok(Step::Changed(record)) => (Some(record), None),
                Ok(Step::Failed(failure)) | Err(failure) => (None, Some(failure)),
            };
            let Some(Failure {
                class,
                message,
                backtrace,
            }) = failure
            else {
                slot.note_success(&record);
                changed = accepted.or(changed);
                continue;
            };
            match class {
                FailureClass::Rejected => count(&slot.counts.filtered),
                FailureClass::Error => count(&slot.counts.errors),
                FailureClass::HeaderKeyNotUtf8 => count(&slot.counts.header_keys_not_utf8),
                // Counted by the call that broke off.
                FailureClass::Fault => {}
            }
            let action = slot.entry.policy.action(class);
            let stops = |message| {
                let coordinates = Some((record.partition, record.offset));
                self.chain
                    .error(slot, Phase::Transform, class, coordinates, message)
            };
            if action == Action::Fail {
                return Err(stops(message));
            }
            if let Some(objection) = slot.note_failure(&record, class) {
                return Err(PluginError {
                    too_many: true,
                    ..stops(format!("{message}; {objection}"))
                });
            }
            return match (action, class) {
                (Action::PassThrough, _) => {
                    count(&slot.counts.passed_through);
                    continue;
                }
                (Action::DeadLetter, class) => {
                    count(&slot.counts.dead_lettered);
                    Ok(Verdict::DeadLettered(Box::new(Failed {
                        plugin: slot.entry.label.clone(),
                        digest: slot.entry.plugin.digest().to_owned(),
                        class,
                        message,
                        backtrace,
                    })))
                }
                (_, FailureClass::Rejected) => Ok(Verdict::Filtered),
                (_, class) => Ok(Verdict::Dropped {
                    plugin: slot.entry.label.clone(),
                    class,
                }),
            };
        }
        Ok(changed.map_or(Verdict::Unchanged, Verdict::Changed))
    }

    /// Calls an entry with a record. After a fault the same record goes to a fresh instance, once.
    fn call(
        &mut self,
        index: usize,
        told: &GuestRecord<'_>,
        record: &RecordRef<'_>,
    ) -> Result<Result<Outcome, Failure>, PluginError> {
        let fault = match self.call_once(index, told)? {
            Ok(outcome) => return Ok(Ok(outcome)),
            Err(fault) => fault,
        };
        let slot = &self.chain.slots[index];
        if slot.entry.plugin.permits_log_line(&slot.entry.label) {
            tracing::warn!(
                plugin = %slot.entry.label,
                topic = %self.chain.context,
                partition = record.partition,
                offset = record.offset,
                error = %fault.message,
                "plugin faulted, the record goes to a fresh instance"
            );
        }
        let second = self.call_once(index, told)?;
        Ok(second.map_err(
            |Fault {
                 message, backtrace, ..
             }| Failure {
                class: FailureClass::Fault,
                message,
                backtrace,
            },
        ))
    }

    /// Calls an entry with a record. An inner error is a fault; the instance is gone.
    fn call_once(
        &mut self,
        index: usize,
        told: &GuestRecord<'_>,
    ) -> Result<Result<Outcome, Fault>, PluginError> {
        self.instance(index)?;
        let slot = &self.chain.slots[index];
        let instance = self.instances[index].as_mut().expect("just made sure of");
        let began = Instant::now();
        let outcome = instance.transform(&slot.entry, told);
        slot.counts.note_call(began.elapsed());
        match &outcome {
            Err(fault) => {
                slot.counts.note_fault(fault.kind);
                self.instances[index] = None;
            }
            Ok(_) => {
                if let Some(wear) = instance.wear(&slot.entry) {
                    count(&slot.counts.recycles);
                    if wear == Wear::Size {
                        count(&slot.counts.recycles_for_size);
                    }
                    self.instances[index] = None;
                }
            }
        }
        Ok(outcome)
    }

    /// The instance of an entry, started if there is none.
    fn instance(&mut self, index: usize) -> Result<&mut Instance, PluginError> {
        let held = &mut self.instances[index];
        if held.is_none() {
            let slot = &self.chain.slots[index];
            let deadline = self.chain.host.shared().clock.deadline();
            let started =
                Instance::start(&slot.entry, &self.chain.context, deadline).map_err(|error| {
                    self.chain
                        .error(slot, error.phase, error.class, None, error.message)
                })?;
            count(&slot.counts.starts);
            slot.note_size(&started);
            *held = Some(started);
        }
        Ok(held.as_mut().expect("just made sure of"))
    }

    /// What an outcome means for a record that was told to a plugin.
    fn compare(&self, index: usize, told: &GuestRecord<'_>, outcome: Outcome) -> Step {
        let slot = &self.chain.slots[index];
        let returned = match outcome {
            Outcome::Accepted(returned) => returned,
            Outcome::Rejected => return Step::failed(FailureClass::Rejected, "rejected"),
            Outcome::Error(message) => return Step::failed(FailureClass::Error, message),
        };
        let partition = match self.chain.context {
            Context::Backup { .. } => {
                if returned.partition != told.partition || returned.offset != Some(told.offset) {
                    slot.note_ignored_edit(&self.chain.context);
                }
                told.partition
            }
            Context::Restore { .. } => returned.partition,
        };
        if partition != told.partition
            && let Some(objection) =
                partition.and_then(|partition| self.chain.partition_objection(partition))
        {
            return Step::failed(FailureClass::Error, objection);
        }
        count(&slot.counts.accepted);
        if partition == told.partition && is_same(told, &returned) {
            return Step::Same;
        }
        let Returned {
            key,
            value,
            headers,
            timestamp,
            ..
        } = returned;
        Step::Changed(OwnedRecord {
            key,
            value,
            headers,
            partition,
            timestamp,
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let held = self.chain.slots.iter().zip(self.instances.drain(..));
        let rested = held.filter_map(|(slot, instance)| {
            let instance = instance?;
            slot.note_size(&instance);
            Some((slot.id, instance))
        });
        self.chain
            .host
            .shared()
            .pool
            .give_back(self.booked_bytes, rested);
    }
}

/// What one entry made of a record.
enum Step {
    Same,
    Changed(OwnedRecord),
    Failed(Failure),
}

impl Step {
    fn failed(class: FailureClass, message: impl Into<String>) -> Self {
        Self::Failed(Failure {
            class,
            message: message.into(),
            backtrace: Vec::new(),
        })
    }
}

/// Whether a plugin handed back what it was told, in everything but its coordinates.
fn is_same(told: &GuestRecord<'_>, returned: &Returned) -> bool {
    told.timestamp.time == returned.timestamp
        && told.key == returned.key.as_deref()
        && told.value == returned.value.as_deref()
        && told.headers.len() == returned.headers.len()
        && told
            .headers
            .iter()
            .zip(&returned.headers)
            .all(|(told, returned)| told.0 == returned.0 && told.1 == returned.1.as_deref())
}

/// What a plugin is told: the record as it came in, or as the plugins before have left it.
fn guest_record<'a>(
    source: &RecordRef<'a>,
    changed: Option<&'a OwnedRecord>,
) -> Result<GuestRecord<'a>, Failure> {
    let Some(changed) = changed else {
        return Ok(GuestRecord {
            key: source.key,
            value: source.value,
            headers: utf8_headers(source.headers)?,
            partition: Some(source.partition),
            offset: source.offset,
            timestamp: source.timestamp,
        });
    };
    Ok(GuestRecord {
        key: changed.key.as_deref(),
        value: changed.value.as_deref(),
        headers: changed
            .headers
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_deref()))
            .collect(),
        partition: changed.partition,
        offset: source.offset,
        timestamp: crate::Timestamp {
            time: changed.timestamp,
            ..source.timestamp
        },
    })
}

/// The contract says that header keys are strings, and Kafka does not.
fn utf8_headers<'a>(
    headers: &[(&'a [u8], Option<&'a [u8]>)],
) -> Result<Vec<(&'a str, Option<&'a [u8]>)>, Failure> {
    let told = |(key, value): &(&'a [u8], Option<&'a [u8]>)| match std::str::from_utf8(key) {
        Ok(key) => Ok((key, *value)),
        Err(_) => {
            let class = FailureClass::HeaderKeyNotUtf8;
            let message = format!(
                "header key \"{}\" is not UTF-8, which kafka-record 0.1 cannot express",
                key.escape_ascii()
            );
            Err(Failure {
                class,
                message,
                backtrace: Vec::new(),
            })
        }
    };
    headers.iter().map(told).collect()
}
