//! Which leader epoch wrote which offsets (Kafka class `LeaderEpochFileCache`, KIP-101).

/// The epochs of one log in ascending order, each with the first offset written under it.
#[derive(Debug, Clone)]
pub(crate) struct LeaderEpochs {
    entries: Vec<(i32, i64)>,
}

impl LeaderEpochs {
    /// An empty log under its first leader epoch.
    pub(crate) fn new(epoch: i32) -> Self {
        Self {
            entries: vec![(epoch, 0)],
        }
    }

    /// The newest epoch, which is the current leader's.
    pub(crate) fn latest(&self) -> i32 {
        self.entries.last().map_or(-1, |(epoch, _)| *epoch)
    }

    /// The epoch that wrote `offset`, or would write it.
    pub(crate) fn epoch_of(&self, offset: i64) -> i32 {
        let older = self
            .entries
            .iter()
            .rev()
            .find(|(_, start)| *start <= offset);
        older
            .or(self.entries.first())
            .map_or(-1, |(epoch, _)| *epoch)
    }

    /// Starts an epoch at `start_offset`. An epoch that wrote nothing is forgotten, as its range is empty.
    pub(crate) fn start(&mut self, epoch: i32, start_offset: i64) {
        self.entries
            .retain(|(known, start)| *known < epoch && *start < start_offset);
        self.entries.push((epoch, start_offset));
    }

    /// For a requested epoch: the largest epoch not above it, and the offset (exclusive) at which that one ended.
    /// `None` when the epoch is above all known ones (`UNDEFINED_EPOCH` on the wire).
    pub(crate) fn end_of(&self, requested: i32, log_end: i64) -> Option<(i32, i64)> {
        if requested < 0 {
            return None;
        }
        if requested == self.latest() {
            return Some((requested, log_end));
        }
        let (_, end) = *self.entries.iter().find(|(epoch, _)| *epoch > requested)?;
        let floor = self
            .entries
            .iter()
            .rev()
            .find(|(epoch, _)| *epoch <= requested);
        Some((floor.map_or(requested, |(epoch, _)| *epoch), end))
    }

    /// Forgets what was written at or after `end` (exclusive end of the log).
    pub(crate) fn truncate_end(&mut self, end: i64) {
        self.entries.retain(|(_, start)| *start < end);
    }

    /// Forgets epochs that ended at or before `start`, the first offset still in the log.
    pub(crate) fn truncate_start(&mut self, start: i64) {
        let gone = self
            .entries
            .iter()
            .rposition(|(_, first)| *first <= start)
            .unwrap_or(0);
        self.entries.drain(..gone);
        if let Some((_, first)) = self.entries.first_mut() {
            *first = (*first).max(start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> LeaderEpochs {
        let mut epochs = LeaderEpochs::new(0);
        epochs.start(2, 10);
        epochs.start(5, 20);
        epochs
    }

    #[test]
    fn ends_of_epochs() {
        let epochs = history();
        assert_eq!(epochs.end_of(0, 30), Some((0, 10)));
        assert_eq!(epochs.end_of(1, 30), Some((0, 10)));
        assert_eq!(epochs.end_of(2, 30), Some((2, 20)));
        assert_eq!(epochs.end_of(4, 30), Some((2, 20)));
        assert_eq!(epochs.end_of(5, 30), Some((5, 30)));
        assert_eq!(epochs.end_of(6, 30), None);
        assert_eq!(epochs.end_of(-1, 30), None);
        assert_eq!(
            (epochs.epoch_of(9), epochs.epoch_of(10), epochs.epoch_of(25)),
            (0, 2, 5)
        );
    }

    #[test]
    fn truncation_at_both_ends() {
        let mut epochs = history();
        epochs.truncate_start(12);
        assert_eq!(epochs.end_of(0, 30), Some((0, 12)));
        assert_eq!(epochs.end_of(2, 30), Some((2, 20)));
        epochs.truncate_end(15);
        assert_eq!(epochs.latest(), 2);
        epochs.start(6, 15);
        assert_eq!(epochs.end_of(5, 16), Some((2, 15)));
    }

    #[test]
    fn an_epoch_that_wrote_nothing_is_replaced() {
        let mut epochs = LeaderEpochs::new(0);
        epochs.start(1, 0);
        epochs.start(2, 0);
        assert_eq!(epochs.end_of(2, 7), Some((2, 7)));
        assert_eq!(epochs.end_of(1, 7), Some((1, 0)));
    }
}
