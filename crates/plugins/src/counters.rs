//! What plugin entries have done: counted where it happens, read by whoever asks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How a plugin broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// It trapped: an unreachable instruction, an access out of bounds, a stack that was too deep, a handle that is not there.
    Trap,
    /// It did not finish in time.
    Time,
    /// It asked for more memory than it may have.
    Memory,
    /// It handed over more than it may.
    TooLarge,
    /// It called exit.
    Exit,
}

impl FaultKind {
    /// All of them, in the order of [`EntryCounters::fault_kinds`].
    pub const ALL: [Self; 5] = [
        Self::Trap,
        Self::Time,
        Self::Memory,
        Self::TooLarge,
        Self::Exit,
    ];

    /// The name that metrics use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Time => "time",
            Self::Memory => "memory",
            Self::TooLarge => "tooLarge",
            Self::Exit => "exit",
        }
    }
}

/// What an entry of a chain has done so far. All numbers only grow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EntryCounters {
    /// The label of the entry.
    pub plugin: String,
    /// The topic: that which is backed up, or that which is written to.
    pub topic: String,
    /// Calls of `transform`, replays included.
    pub calls: u64,
    /// Records accepted.
    pub accepted: u64,
    /// Records rejected.
    pub filtered: u64,
    /// Records that the plugin could not process, or sent to a partition that is not there.
    pub errors: u64,
    /// Faults; a record that faults twice counts twice.
    pub faults: u64,
    /// Faults by [`FaultKind::ALL`].
    pub fault_kinds: [u64; FaultKind::ALL.len()],
    /// Records that could not be handed over, because a header key is not UTF-8.
    pub header_keys_not_utf8: u64,
    /// Records that were not accepted, and passed on as they were because the error policy says so.
    pub passed_through: u64,
    /// Records that were put aside because the error policy says so.
    pub dead_lettered: u64,
    /// Records of a backup whose partition or offset the plugin tried to change.
    pub ignored_edits: u64,
    /// Instances started.
    pub starts: u64,
    /// Instances replaced because of their age or size.
    pub recycles: u64,
    /// Those of them that were replaced because of their size.
    pub recycles_for_size: u64,
    /// Bytes of the largest instance so far.
    pub instance_bytes: u64,
    /// How long calls of `transform` took.
    pub latency: Latency,
}

impl EntryCounters {
    /// Adds what another chain did with the same plugin on the same topic.
    fn add(&mut self, other: &Self) {
        let Self {
            plugin: _,
            topic: _,
            calls,
            accepted,
            filtered,
            errors,
            faults,
            fault_kinds,
            header_keys_not_utf8,
            passed_through,
            dead_lettered,
            ignored_edits,
            starts,
            recycles,
            recycles_for_size,
            instance_bytes,
            latency,
        } = self;
        *calls += other.calls;
        *accepted += other.accepted;
        *filtered += other.filtered;
        *errors += other.errors;
        *faults += other.faults;
        add_all(fault_kinds, &other.fault_kinds);
        *header_keys_not_utf8 += other.header_keys_not_utf8;
        *passed_through += other.passed_through;
        *dead_lettered += other.dead_lettered;
        *ignored_edits += other.ignored_edits;
        *starts += other.starts;
        *recycles += other.recycles;
        *recycles_for_size += other.recycles_for_size;
        *instance_bytes = (*instance_bytes).max(other.instance_bytes);
        add_all(&mut latency.buckets, &other.latency.buckets);
        latency.sum += other.latency.sum;
    }
}

fn add_all(to: &mut [u64], from: &[u64]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}

/// A histogram of durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latency {
    /// How many took no longer than the bound of the same index in [`Self::BOUNDS`], and longer than the one before; the last
    /// number is of those that took longer than all.
    pub buckets: [u64; Self::BOUNDS.len() + 1],
    /// All durations together.
    pub sum: Duration,
}

impl Latency {
    /// The bounds of the buckets: from what a builtin plugin takes to what any may take.
    pub const BOUNDS: [Duration; 14] = [
        Duration::from_nanos(500),
        Duration::from_micros(1),
        Duration::from_micros(2),
        Duration::from_micros(5),
        Duration::from_micros(10),
        Duration::from_micros(25),
        Duration::from_micros(50),
        Duration::from_micros(100),
        Duration::from_micros(250),
        Duration::from_millis(1),
        Duration::from_millis(5),
        Duration::from_millis(25),
        Duration::from_millis(100),
        Duration::from_secs(1),
    ];
}

/// The counters of one entry of one chain.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) accepted: AtomicU64,
    pub(crate) filtered: AtomicU64,
    pub(crate) errors: AtomicU64,
    fault_kinds: [AtomicU64; FaultKind::ALL.len()],
    pub(crate) header_keys_not_utf8: AtomicU64,
    pub(crate) passed_through: AtomicU64,
    pub(crate) dead_lettered: AtomicU64,
    pub(crate) ignored_edits: AtomicU64,
    pub(crate) starts: AtomicU64,
    pub(crate) recycles: AtomicU64,
    pub(crate) recycles_for_size: AtomicU64,
    instance_bytes: AtomicU64,
    latency: [AtomicU64; Latency::BOUNDS.len() + 1],
    latency_nanos: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counts {
    pub(crate) fn note_fault(&self, kind: FaultKind) {
        count(&self.fault_kinds[kind as usize]);
    }

    pub(crate) fn note_instance(&self, bytes: u64) {
        self.instance_bytes.fetch_max(bytes, Ordering::Relaxed);
    }

    pub(crate) fn note_call(&self, took: Duration) {
        let bucket = Latency::BOUNDS.partition_point(|bound| *bound < took);
        count(&self.latency[bucket]);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.latency_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, plugin: &str, topic: &str) -> EntryCounters {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let fault_kinds = self.fault_kinds.each_ref().map(read);
        let latency = self.latency.each_ref().map(read);
        EntryCounters {
            plugin: plugin.to_owned(),
            topic: topic.to_owned(),
            calls: latency.iter().sum(),
            accepted: read(&self.accepted),
            filtered: read(&self.filtered),
            errors: read(&self.errors),
            faults: fault_kinds.iter().sum(),
            fault_kinds,
            header_keys_not_utf8: read(&self.header_keys_not_utf8),
            passed_through: read(&self.passed_through),
            dead_lettered: read(&self.dead_lettered),
            ignored_edits: read(&self.ignored_edits),
            starts: read(&self.starts),
            recycles: read(&self.recycles),
            recycles_for_size: read(&self.recycles_for_size),
            instance_bytes: read(&self.instance_bytes),
            latency: Latency {
                buckets: latency,
                sum: Duration::from_nanos(read(&self.latency_nanos)),
            },
        }
    }
}

/// The counters of all chains of a host, also of those that are gone.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    books: Mutex<Books>,
}

/// A plugin's label, and a topic.
type Place = (Arc<str>, Arc<str>);

#[derive(Debug, Default)]
struct Books {
    live: Vec<(Place, Arc<Counts>)>,
    /// The sums of those that nobody counts on any more.
    ended: BTreeMap<Place, EntryCounters>,
}

impl Registry {
    /// Counters for an entry of a new chain.
    pub(crate) fn counts(&self, plugin: &str, topic: &str) -> Arc<Counts> {
        let counts = Arc::new(Counts::default());
        let place = (Arc::from(plugin), Arc::from(topic));
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.live.push((place, Arc::clone(&counts)));
        counts
    }

    /// What has been done with every plugin on every topic, sorted by plugin and topic.
    pub(crate) fn read(&self) -> Vec<EntryCounters> {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let Books { live, ended } = &mut *books;
        live.retain(|(place, counts)| {
            let is_live = Arc::strong_count(counts) > 1;
            if !is_live {
                add(ended, place, counts);
            }
            is_live
        });
        let mut sums = ended.clone();
        for (place, counts) in live {
            add(&mut sums, place, counts);
        }
        sums.into_values().collect()
    }
}

fn add(sums: &mut BTreeMap<Place, EntryCounters>, place: &Place, counts: &Counts) {
    let (plugin, topic) = place;
    let counters = counts.read(plugin, topic);
    sums.entry(place.clone())
        .and_modify(|sum| sum.add(&counters))
        .or_insert(counters);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_counted_up_to_their_bound() {
        let counts = Counts::default();
        for took in [0, 500, 501, 1_000_000_000, 1_000_000_001] {
            counts.note_call(Duration::from_nanos(took));
        }
        let latency = counts.read("p", "t").latency;
        assert_eq!((latency.buckets[0], latency.buckets[1]), (2, 1));
        assert_eq!(latency.buckets[13..], [1, 1]);
        assert_eq!(latency.sum, Duration::from_nanos(2_000_001_002));
    }

    #[test]
    fn what_a_chain_did_stays_when_it_is_gone() {
        let registry = Registry::default();
        let first = registry.counts("p", "t");
        let second = registry.counts("p", "t");
        let other = registry.counts("p", "u");
        for counts in [&first, &second, &second, &other] {
            counts.note_call(Duration::ZERO);
        }
        first.note_instance(7);
        second.note_instance(5);
        let calls = || {
            let read = registry.read();
            let places = read.iter().map(|sum| (sum.topic.clone(), sum.calls));
            (places.collect::<Vec<_>>(), read[0].instance_bytes)
        };
        let expected = (vec![("t".to_owned(), 3), ("u".to_owned(), 1)], 7);
        assert_eq!(calls(), expected);
        drop((first, other));
        assert_eq!(calls(), expected);
        second.note_call(Duration::ZERO);
        assert_eq!(calls().0[0].1, 4);
    }
}
