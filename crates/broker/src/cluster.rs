//! The one node and what it keeps: topics, fetch sessions, producer ids.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::BrokerOptions;
use crate::fetch_sessions::FetchSessions;
use crate::topics::Topics;

/// `node.id` of the only node.
pub(crate) const NODE_ID: i32 = 1;
/// The host clients are sent to: only this machine is ever served.
pub(crate) const HOST: &str = "127.0.0.1";
/// `producer.id.expiration.ms`.
const PRODUCER_EXPIRATION_MS: i64 = 24 * 60 * 60 * 1000;

/// Everything the connections share. No lock is held across an await point.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) options: BrokerOptions,
    /// 22 characters of base64url, as Kafka writes its ids.
    pub(crate) id: String,
    pub(crate) port: u16,
    topics: RwLock<Topics>,
    sessions: Mutex<FetchSessions>,
    next_producer_id: AtomicI64,
}

impl Cluster {
    pub(crate) fn new(options: BrokerOptions, port: u16) -> Self {
        Self {
            options,
            id: URL_SAFE_NO_PAD.encode(Uuid::new_v4().as_bytes()),
            port,
            topics: RwLock::default(),
            sessions: Mutex::default(),
            next_producer_id: AtomicI64::new(0),
        }
    }

    pub(crate) fn topics(&self) -> RwLockReadGuard<'_, Topics> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn topics_mut(&self) -> RwLockWriteGuard<'_, Topics> {
        self.topics.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn sessions(&self) -> MutexGuard<'_, FetchSessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn allocate_producer_id(&self) -> i64 {
        self.next_producer_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Forgets idempotent producers by the age of their newest records, as Kafka does every ten minutes.
    pub(crate) fn expire_producers(&self) {
        let now = now_ms();
        for topic in self.topics().iter() {
            for partition in &topic.partitions {
                partition
                    .log()
                    .expire_producers(now, PRODUCER_EXPIRATION_MS);
            }
        }
    }
}

/// The wall clock in ms since 1970.
pub(crate) fn now_ms() -> i64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
