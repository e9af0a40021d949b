//! Plugins that come with the program. They run in the same chain as components do, under the same error policy, counters and
//! order; what they do is a function of the record alone, so a restore that is resumed does the same again.

mod hash;
mod repartitioning;
mod schema_mapping;

use std::sync::Arc;

use wasmtime::{Engine, Result, Store};

pub use self::hash::{HashAlgorithm, murmur2};
pub use self::repartitioning::{Hashing, Repartitioning};
pub use self::schema_mapping::{RecordPart, SchemaMapping};
use crate::host::contract::{Contract, Guest, GuestRecord, Outcome, Returned};
use crate::host::guest_state::GuestState;
use crate::{Context, Host, NO_TIMESTAMP, Plugin};

/// A builtin plugin, as it is configured. All of them are for restores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Builtin {
    /// `topic-repartitioning`: records go to other partitions than they came from.
    Repartitioning(Repartitioning),
    /// `topic-retention`: records that the target would expire are rejected.
    Retention,
    /// `payload-schema-mapping`, `key-schema-mapping`: schema ids become those of another registry.
    SchemaMapping(SchemaMapping),
}

/// What builtin plugins need to know of the topic that is written to. Nothing is known before the target is there; records
/// are not handed over before that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TargetFacts {
    /// How many partitions it has.
    pub partitions: Option<i32>,
    /// Records older than this (ms since the epoch) would expire there; `None` where none would.
    pub expires_before: Option<i64>,
}

impl Builtin {
    /// The name that a plugin entry has.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Repartitioning(_) => "topic-repartitioning",
            Self::Retention => "topic-retention",
            Self::SchemaMapping(mapping) => match mapping.part {
                RecordPart::Payload => "payload-schema-mapping",
                RecordPart::Key => "key-schema-mapping",
            },
        }
    }

    /// Stands for the code, as the digest does of a component. The number goes up when the same configuration begins to mean
    /// something else: then a restore cannot be gone on with.
    fn digest(&self) -> String {
        format!("builtin:{}/1", self.name())
    }

    fn requirements(&self, partitions: u64) -> u64 {
        match self {
            Self::Repartitioning(repartitioning) => repartitioning
                .partitions()
                .map_or(partitions, |wanted| u64::from(wanted.unsigned_abs())),
            Self::Retention | Self::SchemaMapping(_) => partitions,
        }
    }

    fn transform(&self, target: TargetFacts, record: &GuestRecord<'_>) -> Outcome {
        match self {
            Self::Repartitioning(repartitioning) => {
                match repartitioning.partition(target, record) {
                    Ok(partition) => Outcome::Accepted(Returned {
                        partition,
                        ..returned(record)
                    }),
                    Err(message) => Outcome::Error(message),
                }
            }
            Self::Retention => match target.expires_before {
                // A record without a timestamp does not expire by it.
                Some(oldest)
                    if record.timestamp.time != NO_TIMESTAMP && record.timestamp.time < oldest =>
                {
                    Outcome::Rejected
                }
                _ => Outcome::Accepted(returned(record)),
            },
            Self::SchemaMapping(mapping) => {
                let mut returned = returned(record);
                mapping.apply(match mapping.part {
                    RecordPart::Payload => returned.value.as_deref_mut(),
                    RecordPart::Key => returned.key.as_deref_mut(),
                });
                Outcome::Accepted(returned)
            }
        }
    }
}

/// A record as it came in.
fn returned(record: &GuestRecord<'_>) -> Returned {
    Returned {
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
        headers: record
            .headers
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.map(<[u8]>::to_vec)))
            .collect(),
        partition: record.partition,
        offset: Some(record.offset),
        timestamp: record.timestamp.time,
    }
}

impl Host {
    /// A builtin plugin, with what is known of the target.
    pub fn builtin(&self, builtin: Builtin, target: TargetFacts) -> Plugin {
        let (name, digest) = (builtin.name(), builtin.digest());
        let engine = self.engine().clone();
        let contract = Bound {
            engine,
            code: Arc::new(Code { builtin, target }),
        };
        Plugin::of_contract(name, &digest, Arc::new(contract))
    }
}

/// A builtin plugin in the place of a component: its instances hold nothing.
#[derive(Debug)]
struct Bound {
    engine: Engine,
    code: Arc<Code>,
}

#[derive(Debug)]
struct Code {
    builtin: Builtin,
    target: TargetFacts,
}

impl Contract for Bound {
    fn engine(&self) -> &Engine {
        &self.engine
    }

    fn instantiate(&self, _store: &mut Store<GuestState>) -> Result<Box<dyn Guest>> {
        Ok(Box::new(Running(Arc::clone(&self.code))))
    }
}

struct Running(Arc<Code>);

impl Guest for Running {
    fn init(
        &self,
        _store: &mut Store<GuestState>,
        _context: &Context,
        _config: Option<&str>,
    ) -> Result<Result<(), String>> {
        Ok(Ok(()))
    }

    fn requirements(&self, _store: &mut Store<GuestState>, partitions: u64) -> Result<u64> {
        Ok(self.0.builtin.requirements(partitions))
    }

    fn transform(
        &self,
        _store: &mut Store<GuestState>,
        record: &GuestRecord<'_>,
    ) -> Result<Outcome> {
        Ok(self.0.builtin.transform(self.0.target, record))
    }
}
