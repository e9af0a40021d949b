//! What is being tried again at the moment, for those who watch.
//!
//! A call that keeps failing and is repeated returns nothing until it succeeds or is given up, which may take minutes. Meanwhile the one
//! who repeats it holds a [`Retrying`], and whoever watches the run finds its sentence among the [`Troubles`]. When the call is
//! over, in whatever way, the trouble is, too.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// A cluster that cannot be reached, or refuses for the moment.
    Kafka,
    /// A storage that cannot be reached, or refuses for the moment.
    Storage,
    /// A partition that stopped and is opened again.
    Partition,
    /// A run that cannot begin yet.
    Start,
}

impl Cause {
    /// All causes.
    pub const ALL: [Cause; 4] = [Cause::Kafka, Cause::Storage, Cause::Partition, Cause::Start];

    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Cause::Kafka => "kafka",
            Cause::Storage => "storage",
            Cause::Partition => "partition",
            Cause::Start => "start",
        }
    }
}

/// The troubles of a run. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Troubles {
    inner: Arc<Inner>,
    /// What each sentence begins with.
    about: Arc<str>,
}

#[derive(Debug, Default)]
struct Inner {
    current: Mutex<Current>,
    retries: [AtomicU64; Cause::ALL.len()],
}

#[derive(Debug, Default)]
struct Current {
    next: u64,
    troubles: BTreeMap<u64, Trouble>,
}

/// Something that is being tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What.
    pub cause: Cause,
    /// Why, in one sentence.
    pub sentence: String,
    since: Instant,
}

impl Trouble {
    /// For how long it has been failing.
    pub fn age(&self) -> Duration {
        self.since.elapsed()
    }
}

impl Troubles {
    /// The same ones, with sentences that begin so from now on, e.g. `EventHub production`.
    pub fn about(&self, what: impl Into<Arc<str>>) -> Troubles {
        Troubles {
            inner: Arc::clone(&self.inner),
            about: what.into(),
        }
    }

    /// Counts a retry.
    pub fn count(&self, cause: Cause) {
        self.inner.retries[cause as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Something failed and is tried again; it is in trouble until the answer is dropped.
    pub fn retrying(&self, cause: Cause, why: &str) -> Retrying {
        self.count(cause);
        let trouble = Trouble {
            cause,
            sentence: self.sentence(why),
            since: Instant::now(),
        };
        let mut current = self.current_mut();
        let id = current.next;
        current.next += 1;
        current.troubles.insert(id, trouble);
        drop(current);
        Retrying {
            troubles: self.clone(),
            cause,
            id,
        }
    }

    fn sentence(&self, why: &str) -> String {
        match &*self.about {
            "" => why.to_owned(),
            about => format!("{about}: {why}"),
        }
    }

    /// Those of the moment, the oldest first. What many are in trouble with for the same reason is told once.
    pub fn current(&self) -> Vec<Trouble> {
        let mut told: Vec<Trouble> = Vec::new();
        for trouble in self.current_mut().troubles.values() {
            if !told.iter().any(|other| other.sentence == trouble.sentence) {
                told.push(trouble.clone());
            }
        }
        told
    }

    /// How often something was tried again so far, cause by cause.
    pub fn retries(&self) -> impl Iterator<Item = (Cause, u64)> + '_ {
        let counts = self.inner.retries.iter();
        let counts = counts.map(|count| count.load(Ordering::Relaxed));
        Cause::ALL.into_iter().zip(counts)
    }

    fn current_mut(&self) -> MutexGuard<'_, Current> {
        let current = self.inner.current.lock();
        current.unwrap_or_else(PoisonError::into_inner)
    }
}

/// A trouble of the moment. Dropped, it is over.
#[derive(Debug)]
#[must_use = "a trouble ends when this is dropped"]
pub struct Retrying {
    troubles: Troubles,
    cause: Cause,
    id: u64,
}

impl Retrying {
    /// It failed again.
    pub fn again(&self, why: &str) {
        self.troubles.count(self.cause);
        if let Some(trouble) = self.troubles.current_mut().troubles.get_mut(&self.id) {
            trouble.sentence = self.troubles.sentence(why);
        }
    }
}

impl Drop for Retrying {
    fn drop(&mut self) {
        self.troubles.current_mut().troubles.remove(&self.id);
    }
}

/// An error with its whole chain of causes on one line.
pub fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let next = source.to_string();
        // Transparent wrappers repeat their source's text.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_lasts_as_long_as_its_guard() {
        let troubles = Troubles::default();
        let hub = troubles.about("EventHub a");
        let sentences = || -> Vec<String> {
            let current = troubles.current().into_iter();
            current.map(|trouble| trouble.sentence).collect()
        };
        let first = hub.retrying(Cause::Kafka, "refused");
        let second = hub.retrying(Cause::Kafka, "refused");
        let third = troubles.retrying(Cause::Storage, "gone");
        assert_eq!(sentences(), ["EventHub a: refused", "gone"]);
        second.again("reset");
        assert_eq!(
            sentences(),
            ["EventHub a: refused", "EventHub a: reset", "gone"]
        );
        drop((first, third));
        assert_eq!(sentences(), ["EventHub a: reset"]);
        drop(second);
        assert!(sentences().is_empty());
        let retries: Vec<_> = troubles.retries().collect();
        assert_eq!(
            retries,
            [
                (Cause::Kafka, 3),
                (Cause::Storage, 1),
                (Cause::Partition, 0),
                (Cause::Start, 0)
            ]
        );
    }
}
