//! Version 0.1 of the contract: `wit/0.1`, frozen.
//!
//! Everything that knows the types made from those files is here. A version 0.2 gets a module of its own beside this one, and
//! converts to the same types of [`super::contract`].

mod shapes;

use std::sync::Arc;

use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Result, Store};

use self::backup::kannika::wasi_plugins::types;
use super::contract::{Contract, Guest, GuestRecord, Outcome, Returned};
use super::guest_state::GuestState;
use crate::{Context, NO_TIMESTAMP, TimestampKind, World};

pub(super) use self::shapes::{check_shape, world_of};

mod backup {
    #![allow(missing_docs, unreachable_pub, missing_debug_implementations)]
    wasmtime::component::bindgen!({
        path: "../../wit/0.1",
        world: "wasi-backup-plugin",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

mod restore {
    #![allow(missing_docs, unreachable_pub, missing_debug_implementations)]
    wasmtime::component::bindgen!({
        path: "../../wit/0.1",
        world: "wasi-restore-plugin",
        ownership: Borrowing { duplicate_if_necessary: true },
        with: { "kannika:wasi-plugins/types@0.1.0": super::backup::kannika::wasi_plugins::types },
    });
}

/// Binds a component to a world. Its shape has been checked, so what can still be wrong is the shape of its imports.
pub(super) fn bind(
    linker: &Linker<GuestState>,
    component: &Component,
    world: World,
) -> Result<Arc<dyn Contract>> {
    let pre = linker.instantiate_pre(component)?;
    Ok(match world {
        World::Backup => Arc::new(Backup(backup::WasiBackupPluginPre::new(pre)?)),
        World::Restore => Arc::new(Restore(restore::WasiRestorePluginPre::new(pre)?)),
    })
}

struct Backup(backup::WasiBackupPluginPre<GuestState>);

struct Restore(restore::WasiRestorePluginPre<GuestState>);

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("wasi-backup-plugin 0.1")
    }
}

impl std::fmt::Debug for Restore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("wasi-restore-plugin 0.1")
    }
}

impl Contract for Backup {
    fn engine(&self) -> &Engine {
        self.0.engine()
    }

    fn instantiate(&self, store: &mut Store<GuestState>) -> Result<Box<dyn Guest>> {
        Ok(Box::new(self.0.instantiate(store)?))
    }
}

impl Contract for Restore {
    fn engine(&self) -> &Engine {
        self.0.engine()
    }

    fn instantiate(&self, store: &mut Store<GuestState>) -> Result<Box<dyn Guest>> {
        Ok(Box::new(self.0.instantiate(store)?))
    }
}

impl Guest for backup::WasiBackupPlugin {
    fn init(
        &self,
        store: &mut Store<GuestState>,
        context: &Context,
        config: Option<&str>,
    ) -> Result<Result<(), String>> {
        let topic = match context {
            Context::Backup { topic } => topic,
            Context::Restore { .. } => unreachable!("a chain takes plugins of its own world only"),
        };
        self.call_init(store, backup::Context { topic }, config)
    }

    fn requirements(&self, _store: &mut Store<GuestState>, partitions: u64) -> Result<u64> {
        Ok(partitions)
    }

    fn transform(
        &self,
        store: &mut Store<GuestState>,
        record: &GuestRecord<'_>,
    ) -> Result<Outcome> {
        let headers = headers_of(record);
        self.call_transform(store, told(record, &headers))
            .map(heard)
    }
}

impl Guest for restore::WasiRestorePlugin {
    fn init(
        &self,
        store: &mut Store<GuestState>,
        context: &Context,
        config: Option<&str>,
    ) -> Result<Result<(), String>> {
        let (source_topic, target_topic) = match context {
            Context::Restore {
                source_topic,
                target_topic,
            } => (source_topic, target_topic),
            Context::Backup { .. } => unreachable!("a chain takes plugins of its own world only"),
        };
        self.call_init(
            store,
            restore::Context {
                source_topic,
                target_topic,
            },
            config,
        )
    }

    fn requirements(&self, store: &mut Store<GuestState>, partitions: u64) -> Result<u64> {
        let so_far = restore::TargetTopicRequirements {
            no_partitions: partitions,
        };
        Ok(self
            .call_update_target_topic_requirements(store, so_far)?
            .no_partitions)
    }

    fn transform(
        &self,
        store: &mut Store<GuestState>,
        record: &GuestRecord<'_>,
    ) -> Result<Outcome> {
        let headers = headers_of(record);
        self.call_transform(store, told(record, &headers))
            .map(heard)
    }
}

fn headers_of<'a>(record: &GuestRecord<'a>) -> Vec<types::KafkaRecordHeaderParam<'a>> {
    record
        .headers
        .iter()
        .map(|(key, val)| types::KafkaRecordHeaderParam { key, val: *val })
        .collect()
}

fn told<'a>(
    record: &GuestRecord<'a>,
    headers: &'a [types::KafkaRecordHeaderParam<'a>],
) -> types::KafkaRecordParam<'a> {
    let kind = match record.timestamp.kind {
        TimestampKind::None => types::TimestampKind::None,
        TimestampKind::CreateTime => types::TimestampKind::CreateTime,
        TimestampKind::LogAppendTime => types::TimestampKind::LogAppendTime,
    };
    types::KafkaRecordParam {
        key: record.key,
        headers,
        partition: record.partition,
        offset: Some(record.offset),
        timestamp: Some(types::KafkaRecordTimestamp {
            kind,
            time: record.timestamp.time,
        }),
        payload: record.value,
    }
}

fn heard(outcome: types::Outcome) -> Outcome {
    match outcome {
        types::Outcome::Accepted(record) => Outcome::Accepted(Returned {
            key: record.key,
            value: record.payload,
            headers: record
                .headers
                .into_iter()
                .map(|header| (header.key, header.val))
                .collect(),
            partition: record.partition,
            offset: record.offset,
            timestamp: record
                .timestamp
                .map_or(NO_TIMESTAMP, |timestamp| timestamp.time),
        }),
        types::Outcome::Rejected(_) => Outcome::Rejected,
        types::Outcome::Error(message) => Outcome::Error(message),
    }
}
