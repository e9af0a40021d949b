//! The byte budget of a run: how much memory may be on its way at once.
//!
//! Credit for a fetch is taken before the request is sent, and given back when its answer has been handled. What
//! waits in memory for a storage (open segments of object stores, sealed ones being uploaded) is counted in charges;
//! fetching pauses while they reach the limit. Closing a segment never asks for credit, so it can always make room.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Permits are counted in this many bytes, because a semaphore's count is 32 bits wide.
const UNIT: usize = 1024;

/// Shares of one limit, in bytes.
#[derive(Debug)]
pub(crate) struct Budget {
    fetches: Arc<Semaphore>,
    fetch_limit: usize,
    buffered: AtomicUsize,
    buffer_limit: usize,
    room: Notify,
}

impl Budget {
    /// Splits `total` bytes: a quarter for answers of brokers, the rest for segments that wait for their storage.
    pub(crate) fn new(total: usize) -> Budget {
        let fetch_limit = (total / 4).max(2 * UNIT * UNIT);
        Budget {
            fetches: Arc::new(Semaphore::new(fetch_limit / UNIT)),
            fetch_limit,
            buffered: AtomicUsize::new(0),
            buffer_limit: total.saturating_sub(fetch_limit).max(UNIT * UNIT),
            room: Notify::new(),
        }
    }

    /// The size of one fetch answer when `connections` share the credit, each with two answers on its way.
    pub(crate) fn answer_size(&self, connections: usize) -> usize {
        (self.fetch_limit / (2 * connections.max(1))).clamp(UNIT * UNIT, 16 * UNIT * UNIT)
    }

    /// Waits for credit of `bytes`. What is larger than the whole limit passes alone.
    pub(crate) async fn fetch_credit(&self, bytes: usize) -> OwnedSemaphorePermit {
        let units = bytes
            .min(self.fetch_limit)
            .div_ceil(UNIT)
            .min(self.fetch_limit / UNIT);
        Arc::clone(&self.fetches)
            .acquire_many_owned(u32::try_from(units).unwrap_or(u32::MAX))
            .await
            .expect("the semaphore is never closed")
    }

    /// Bytes that wait in memory for their storage.
    pub(crate) fn buffered(&self) -> usize {
        self.buffered.load(Ordering::Relaxed)
    }

    /// How many bytes may wait before fetching pauses.
    pub(crate) fn buffer_limit(&self) -> usize {
        self.buffer_limit
    }

    /// A holder of buffered bytes, which holds none yet.
    pub(crate) fn charge(self: &Arc<Self>) -> Charge {
        Charge {
            budget: Arc::clone(self),
            bytes: 0,
        }
    }

    /// Waits until less than the limit is buffered.
    pub(crate) async fn wait_for_room(&self) {
        loop {
            let notified = self.room.notified();
            tokio::pin!(notified);
            // Registered before the check, so that a release in between is not missed.
            notified.as_mut().enable();
            if self.buffered() < self.buffer_limit {
                return;
            }
            notified.await;
        }
    }
}

/// What one open or sealed segment is counted with; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Charge {
    /// Counts `bytes` from now on, be it more or less than before. Never waits: closing a segment may not.
    pub(crate) fn set(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if bytes >= before {
            let more = bytes - before;
            self.budget.buffered.fetch_add(more, Ordering::Relaxed);
        } else {
            let less = before - bytes;
            self.budget.buffered.fetch_sub(less, Ordering::Relaxed);
            self.budget.room.notify_waiters();
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn credit_larger_than_the_limit_passes_alone() {
        let budget = Budget::new(8 * 1024 * 1024);
        let all = budget.fetch_credit(usize::MAX).await;
        assert_eq!(budget.fetches.available_permits(), 0);
        drop(all);
        let _some = budget.fetch_credit(1).await;
        assert!(budget.fetches.available_permits() > 0);
    }

    #[tokio::test]
    async fn fetching_waits_until_a_segment_left_memory() {
        let budget = Arc::new(Budget::new(8 * 1024 * 1024));
        let mut charge = budget.charge();
        charge.set(budget.buffer_limit());
        let waiter = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.wait_for_room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        drop(charge);
        waiter.await.expect("the waiter ends");
        assert_eq!(budget.buffered(), 0);
    }

    #[test]
    fn what_became_less_is_given_back() {
        let budget = Arc::new(Budget::new(8 * 1024 * 1024));
        let (mut one, mut other) = (budget.charge(), budget.charge());
        one.set(100);
        other.set(50);
        one.set(20);
        assert_eq!(budget.buffered(), 70);
        drop(one);
        assert_eq!(budget.buffered(), 50);
    }
}
