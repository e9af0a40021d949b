//! The memory that answers are read into, used again.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Answers kept: while one is handled by the caller, the one before it may be free.
const KEPT: usize = 2;
/// Smaller answers are not worth it: their memory comes from the allocator without page faults.
const WORTH_KEEPING: usize = 256 * 1024;

/// The memory of the last answers, for those to come.
///
/// New memory of several megabytes costs one page fault for every 4 kB, about as much time as the records take to come
/// through the socket. What was read into memory can only be used again once the caller has dropped all of it.
#[derive(Debug, Default)]
pub(super) struct AnswerMemory {
    answers: VecDeque<Bytes>,
}

impl AnswerMemory {
    /// Keeps a hold on the memory of an answer. A small one says that the partitions are read to their ends: then nothing is
    /// kept, so that waiting for records needs no memory.
    pub(super) fn keep(&mut self, answer: &Bytes) {
        if answer.len() < WORTH_KEEPING {
            self.answers.clear();
            return;
        }
        self.answers.push_back(answer.clone());
        if self.answers.len() > KEPT {
            self.answers.pop_front();
        }
    }

    /// Memory that nobody uses any more, if there is some.
    pub(super) fn take(&mut self) -> Option<BytesMut> {
        for _ in 0..self.answers.len() {
            match self.answers.pop_front()?.try_into_mut() {
                Ok(memory) => return Some(memory),
                Err(in_use) => self.answers.push_back(in_use),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(len: usize) -> Bytes {
        let mut memory = BytesMut::with_capacity(len + 100);
        memory.resize(len, 1);
        memory.freeze()
    }

    #[test]
    fn memory_is_used_again_once_the_caller_dropped_all_of_it() {
        let mut memory = AnswerMemory::default();
        let first = answer(1_000_000);
        let place = first.as_ptr();
        memory.keep(&first);
        let records = first.slice(100..200);
        drop(first);
        assert!(memory.take().is_none());
        drop(records);
        let again = memory.take().expect("it is free");
        assert_eq!(again.as_ptr(), place);
        assert!(again.capacity() >= 1_000_100);
        assert!(memory.take().is_none());
    }

    #[test]
    fn an_answer_in_use_does_not_hide_one_that_is_free() {
        let mut memory = AnswerMemory::default();
        let in_use = answer(1_000_000);
        memory.keep(&in_use);
        memory.keep(&answer(2_000_000));
        assert_eq!(memory.take().map(|memory| memory.len()), Some(2_000_000));
    }

    #[test]
    fn no_more_than_two_answers_are_kept_and_none_after_a_small_one() {
        let mut memory = AnswerMemory::default();
        for _ in 0..5 {
            memory.keep(&answer(1_000_000));
        }
        assert_eq!(memory.answers.len(), KEPT);
        memory.keep(&answer(10));
        assert!(memory.take().is_none());
    }
}
