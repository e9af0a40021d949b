//! A small Kafka broker inside this process.
//!
//! `armory quickstart` must show a backup and a restore on a machine that has nothing but `armory`, and tests want a
//! broker that starts in a millisecond, holds ten thousand partitions and can be made to misbehave. So this crate
//! serves the part of the Kafka protocol that backup, restore and ordinary clients need, from memory, on one loopback
//! port: a single node that is leader of everything.
//!
//! Where it answers at all, it answers as Apache Kafka 4.3 does. The transcripts under `tests/transcripts` were
//! recorded from Apache Kafka and are checked against both. The points that matter here:
//!
//! * a RecordBatch is stored as the bytes that were produced; only the base offset, the leader epoch and, where Kafka
//!   does it too, the timestamp fields of the header are assigned ([`log`] says when);
//! * produce requests are judged by the broker's rules (`LogValidator`), idempotent producers by theirs
//!   (`ProducerStateManager`), including how a broker *forgets* producers by the age of their records;
//! * topics have ids, a topic created again has a new one, and leader epochs tell diverged logs apart.
//!
//! Deliberately absent: replication, transactions, consumer groups, authentication, TLS, quotas, disks. Retention and
//! compaction are stored and described as configuration but never acted upon; `DeleteRecords` trims a log. Nothing is
//! dropped by itself, so memory grows with what is produced.
//!
//! The state ([`topics`], [`log`]) knows neither sockets nor clocks; [`api`] translates between it and the wire;
//! [`connection`] is the only part that reads and writes a socket.

mod api;
mod broker;
mod cluster;
mod configs;
mod connection;
mod fetch_sessions;
mod log;
mod refusal;
mod topics;

pub use broker::{Broker, BrokerError, BrokerOptions};
