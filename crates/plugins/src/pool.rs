//! Where instances rest between leases, under one budget of memory for the whole process.
//!
//! An instance belongs to a slot: one plugin entry of one chain. A lease takes an instance for each of its slots, idle ones
//! where there are some. The budget counts what rests and what is leased out. When it runs short, what has rested longest is
//! given up; when nothing rests any more, a lease waits until another one comes back. One lease is always let through, however
//! large: otherwise a budget that is too small would stop everything, and say nothing.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::host::instance::Instance;

/// Names a slot, for as long as the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotId(u64);

impl SlotId {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The resting instances, and the books of the budget.
#[derive(Debug)]
pub(crate) struct Pool {
    budget: u64,
    books: Mutex<Books>,
    lease_came_back: Condvar,
}

#[derive(Debug, Default)]
struct Books {
    /// Least recently used first.
    idle: VecDeque<Idle>,
    idle_bytes: u64,
    leases: usize,
    leased_bytes: u64,
}

#[derive(Debug)]
struct Idle {
    slot: SlotId,
    instance: Instance,
    bytes: u64,
}

/// What a lease takes from the pool.
#[derive(Debug)]
pub(crate) struct Taken {
    /// For every slot that was asked for, an instance that rested there.
    pub(crate) instances: Vec<Option<Instance>>,
    /// What the lease is booked with; to be given back with it.
    pub(crate) booked_bytes: u64,
}

impl Pool {
    pub(crate) fn new(budget: u64) -> Self {
        Self {
            budget,
            books: Mutex::default(),
            lease_came_back: Condvar::new(),
        }
    }

    /// Takes an instance for every slot, where one rests. The number beside a slot is what a fresh instance is expected to
    /// need, in bytes. Waits while the budget has no room.
    pub(crate) fn take(&self, slots: &[(SlotId, u64)]) -> Taken {
        let mut given_up = Vec::new();
        let mut books = self.lock();
        let taken = loop {
            let found: Vec<_> = slots
                .iter()
                .map(|(slot, _)| books.take_idle(*slot))
                .collect();
            let needs = |(idle, (_, expected)): (&Option<Idle>, &(SlotId, u64))| match idle {
                Some(idle) => idle.bytes,
                None => *expected,
            };
            let booked_bytes = found.iter().zip(slots).map(needs).sum();
            books.make_room(self.budget.saturating_sub(booked_bytes), &mut given_up);
            if books.leases == 0 || books.leased_bytes + booked_bytes <= self.budget {
                books.leases += 1;
                books.leased_bytes += booked_bytes;
                let instances = found
                    .into_iter()
                    .map(|idle| idle.map(|idle| idle.instance))
                    .collect();
                break Taken {
                    instances,
                    booked_bytes,
                };
            }
            found
                .into_iter()
                .flatten()
                .for_each(|idle| books.rest(idle));
            books = self
                .lease_came_back
                .wait(books)
                .unwrap_or_else(PoisonError::into_inner);
        };
        drop(books);
        // Unmapping memory takes its time: not while the books are locked.
        drop(given_up);
        taken
    }

    /// Takes back what a lease was booked with, and lets its instances rest.
    pub(crate) fn give_back(
        &self,
        booked_bytes: u64,
        instances: impl Iterator<Item = (SlotId, Instance)>,
    ) {
        let mut given_up = Vec::new();
        let mut books = self.lock();
        books.leases -= 1;
        books.leased_bytes -= booked_bytes;
        for (slot, instance) in instances {
            let bytes = instance.bytes();
            books.rest(Idle {
                slot,
                instance,
                bytes,
            });
        }
        books.make_room(self.budget, &mut given_up);
        drop(books);
        self.lease_came_back.notify_all();
        drop(given_up);
    }

    /// Gives up everything that rests in these slots.
    pub(crate) fn forget(&self, slots: &[SlotId]) {
        let mut given_up = Vec::new();
        let mut books = self.lock();
        for slot in slots {
            while let Some(idle) = books.take_idle(*slot) {
                given_up.push(idle);
            }
        }
        drop(books);
        self.lease_came_back.notify_all();
        drop(given_up);
    }

    /// Bytes that are booked: by instances at rest and by leases.
    pub(crate) fn bytes(&self) -> u64 {
        let books = self.lock();
        books.idle_bytes + books.leased_bytes
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    /// The instance of a slot that rested last: its memory is the warmest.
    fn take_idle(&mut self, slot: SlotId) -> Option<Idle> {
        let index = self.idle.iter().rposition(|idle| idle.slot == slot)?;
        let idle = self.idle.remove(index)?;
        self.idle_bytes -= idle.bytes;
        Some(idle)
    }

    fn rest(&mut self, idle: Idle) {
        self.idle_bytes += idle.bytes;
        self.idle.push_back(idle);
    }

    /// Gives up what has rested longest, until everything takes no more than `bytes`, or nothing rests.
    fn make_room(&mut self, bytes: u64, given_up: &mut Vec<Idle>) {
        while self.idle_bytes + self.leased_bytes > bytes {
            let Some(oldest) = self.idle.pop_front() else {
                return;
            };
            self.idle_bytes -= oldest.bytes;
            given_up.push(oldest);
        }
    }
}
