//! Incremental fetch sessions (KIP-227; Kafka classes `FetchSession`, `FetchSessionCache`, `FetchManager`).
//!
//! A client that follows ten thousand partitions names them once; from then on its requests carry only what it changed
//! and the answers only partitions with news.

use std::collections::HashMap;

use kafka_protocol::ResponseError;

use crate::topics::TopicRef;

/// `max.incremental.fetch.session.cache.slots`; beyond it the session unused for longest is dropped.
const SESSIONS_MAX: usize = 1000;
/// The epoch of a request that asks for a new session, and the epoch of one that wants none.
const INITIAL_EPOCH: i32 = 0;
const FINAL_EPOCH: i32 = -1;

/// What a client wants of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) topic: TopicRef,
    pub(crate) partition: i32,
    /// The leader epoch the client believes in; negative if it has none.
    pub(crate) current_leader_epoch: i32,
    /// Where to read from (inclusive).
    pub(crate) fetch_offset: i64,
    /// The epoch of the record before it; negative if the client does not say.
    pub(crate) last_fetched_epoch: i32,
    /// Largest number of bytes for this partition.
    pub(crate) max_bytes: usize,
}

/// What an answer says about a partition besides records, in so far as a session has to remember it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) bytes: usize,
    pub(crate) failed: bool,
    pub(crate) diverging: bool,
    pub(crate) high_watermark: i64,
    pub(crate) log_start_offset: i64,
}

/// Which of the three ways to answer a fetch request is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FetchContext {
    /// Everything asked for is answered and nothing remembered.
    Sessionless,
    /// Everything is answered and a session begins.
    Full { by_ids: bool },
    /// Only news is answered; `epoch` is what the session expects next.
    Incremental { id: i32, epoch: i32 },
}

#[derive(Debug)]
struct Session {
    /// The epoch that the next request must carry.
    epoch: i32,
    /// Whether topics are named by id, which cannot change within a session.
    by_ids: bool,
    partitions: HashMap<(TopicRef, i32), Followed>,
    last_used: u64,
}

#[derive(Debug)]
struct Followed {
    wanted: Wanted,
    /// Partitions are served in ascending order of it; those just served go to the end, so that none starves.
    turn: u64,
    high_watermark: i64,
    log_start_offset: i64,
}

/// All open sessions.
#[derive(Debug, Default)]
pub(crate) struct FetchSessions {
    by_id: HashMap<i32, Session>,
    last_id: i32,
    /// Counts requests and turns; only its order matters.
    ticks: u64,
}

impl FetchSessions {
    /// Starts on a request: what has to be read, and in which way it will be answered.
    pub(crate) fn open(
        &mut self,
        (id, epoch): (i32, i32),
        by_ids: bool,
        wanted: Vec<Wanted>,
        forgotten: &[(TopicRef, i32)],
    ) -> Result<(FetchContext, Vec<Wanted>), ResponseError> {
        if epoch == INITIAL_EPOCH || epoch == FINAL_EPOCH {
            self.by_id.remove(&id);
            let context = if epoch == FINAL_EPOCH {
                FetchContext::Sessionless
            } else {
                FetchContext::Full { by_ids }
            };
            return Ok((context, wanted));
        }
        self.ticks += 1;
        let session = self
            .by_id
            .get_mut(&id)
            .ok_or(ResponseError::FetchSessionIdNotFound)?;
        if session.by_ids != by_ids {
            return Err(ResponseError::FetchSessionTopicIdError);
        }
        if session.epoch != epoch {
            return Err(ResponseError::InvalidFetchSessionEpoch);
        }
        for wanted in wanted {
            self.ticks += 1;
            session.want(wanted, self.ticks);
        }
        for partition in forgotten {
            session.partitions.remove(partition);
        }
        if session.partitions.is_empty() {
            self.by_id.remove(&id);
            return Ok((FetchContext::Sessionless, Vec::new()));
        }
        session.epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        session.last_used = self.ticks;
        let mut followed: Vec<&Followed> = session.partitions.values().collect();
        followed.sort_unstable_by_key(|followed| followed.turn);
        let wanted = followed
            .into_iter()
            .map(|followed| followed.wanted.clone())
            .collect();
        Ok((
            FetchContext::Incremental {
                id,
                epoch: session.epoch,
            },
            wanted,
        ))
    }

    /// Finishes a request: keeps of `answers` only what has to be sent and returns the session id of the response.
    pub(crate) fn answer<A>(
        &mut self,
        context: FetchContext,
        answers: &mut Vec<(Wanted, A)>,
        describe: impl Fn(&A) -> Answered,
    ) -> Result<i32, ResponseError> {
        match context {
            FetchContext::Sessionless => Ok(0),
            FetchContext::Full { by_ids } => Ok(self.begin(by_ids, answers, describe)),
            FetchContext::Incremental { id, epoch } => {
                let session = self
                    .by_id
                    .get_mut(&id)
                    .filter(|session| session.epoch == epoch)
                    .ok_or(ResponseError::InvalidFetchSessionEpoch)?;
                let ticks = &mut self.ticks;
                answers.retain(|(wanted, answer)| {
                    let followed = session
                        .partitions
                        .get_mut(&(wanted.topic.clone(), wanted.partition));
                    followed.is_none_or(|followed| followed.has_news(&describe(answer), ticks))
                });
                Ok(id)
            }
        }
    }

    fn begin<A>(
        &mut self,
        by_ids: bool,
        answers: &[(Wanted, A)],
        describe: impl Fn(&A) -> Answered,
    ) -> i32 {
        if self.by_id.len() >= SESSIONS_MAX {
            let oldest = self
                .by_id
                .iter()
                .min_by_key(|(_, session)| session.last_used)
                .map(|(id, _)| *id);
            oldest.and_then(|id| self.by_id.remove(&id));
        }
        self.ticks += 1;
        let mut session = Session {
            epoch: INITIAL_EPOCH + 1,
            by_ids,
            partitions: HashMap::new(),
            last_used: self.ticks,
        };
        for (wanted, answer) in answers {
            self.ticks += 1;
            session.want(wanted.clone(), self.ticks);
            if let Some(followed) = session
                .partitions
                .get_mut(&(wanted.topic.clone(), wanted.partition))
            {
                followed.has_news(&describe(answer), &mut self.ticks);
            }
        }
        // Ids are not reused while 2^31 sessions have not come and gone; 0 means "no session".
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.by_id.insert(self.last_id, session);
        self.last_id
    }
}

impl Session {
    fn want(&mut self, wanted: Wanted, turn: u64) {
        let key = (wanted.topic.clone(), wanted.partition);
        let followed = self.partitions.entry(key).or_insert_with(|| Followed {
            wanted: wanted.clone(),
            turn,
            high_watermark: -1,
            log_start_offset: -1,
        });
        followed.wanted = wanted;
    }
}

impl Followed {
    /// Whether the client has to be told, and remembers what it is told (`CachedPartition.maybeUpdateResponseData`).
    fn has_news(&mut self, answer: &Answered, ticks: &mut u64) -> bool {
        if answer.bytes > 0 {
            *ticks += 1;
            self.turn = *ticks;
        }
        let moved = self.high_watermark != answer.high_watermark
            || self.log_start_offset != answer.log_start_offset;
        self.high_watermark = answer.high_watermark;
        self.log_start_offset = answer.log_start_offset;
        if answer.failed || answer.diverging {
            // What follows an error is news in any case.
            self.high_watermark = -1;
        }
        answer.bytes > 0 || moved || answer.failed || answer.diverging
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(partition: i32, fetch_offset: i64) -> Wanted {
        Wanted {
            topic: TopicRef::name("t"),
            partition,
            current_leader_epoch: -1,
            fetch_offset,
            last_fetched_epoch: -1,
            max_bytes: 1 << 20,
        }
    }

    fn answered(high_watermark: i64, bytes: usize) -> Answered {
        Answered {
            bytes,
            failed: false,
            diverging: false,
            high_watermark,
            log_start_offset: 0,
        }
    }

    /// One request and its answer: `(session id, partitions answered)`.
    #[track_caller]
    fn fetch(
        sessions: &mut FetchSessions,
        metadata: (i32, i32),
        changes: Vec<Wanted>,
        state: impl Fn(i32) -> Answered,
    ) -> Result<(i32, Vec<i32>), ResponseError> {
        let (context, wanted) = sessions.open(metadata, false, changes, &[])?;
        let mut answers: Vec<_> = wanted
            .into_iter()
            .map(|wanted| (wanted.clone(), state(wanted.partition)))
            .collect();
        let id = sessions.answer(context, &mut answers, |answer| *answer)?;
        Ok((
            id,
            answers.iter().map(|(wanted, _)| wanted.partition).collect(),
        ))
    }

    #[test]
    fn answers_hold_only_news_and_served_partitions_go_to_the_end() {
        let mut sessions = FetchSessions::default();
        let all = vec![wanted(0, 0), wanted(1, 0), wanted(2, 0)];
        let (id, partitions) = fetch(&mut sessions, (0, 0), all, |_| answered(5, 0)).unwrap();
        assert_eq!((id, partitions), (1, vec![0, 1, 2]));
        assert_eq!(
            fetch(&mut sessions, (id, 1), vec![], |_| answered(5, 0)),
            Ok((id, vec![]))
        );
        let news = |partition| {
            if partition == 0 {
                answered(6, 100)
            } else {
                answered(5, 0)
            }
        };
        assert_eq!(
            fetch(&mut sessions, (id, 2), vec![wanted(0, 5)], news),
            Ok((id, vec![0]))
        );
        assert_eq!(
            fetch(&mut sessions, (id, 3), vec![], |_| answered(7, 0)),
            Ok((id, vec![1, 2, 0]))
        );
    }

    #[test]
    fn errors_are_always_answered_and_so_is_what_follows_them() {
        let mut sessions = FetchSessions::default();
        let failed = |_| Answered {
            failed: true,
            ..answered(-1, 0)
        };
        let (id, _) = fetch(&mut sessions, (0, 0), vec![wanted(0, 0)], failed).unwrap();
        assert_eq!(
            fetch(&mut sessions, (id, 1), vec![], failed).unwrap().1,
            [0]
        );
        assert_eq!(
            fetch(&mut sessions, (id, 2), vec![], |_| answered(5, 0))
                .unwrap()
                .1,
            [0]
        );
        assert!(
            fetch(&mut sessions, (id, 3), vec![], |_| answered(5, 0))
                .unwrap()
                .1
                .is_empty()
        );
    }

    #[test]
    fn wrong_ids_and_epochs_are_refused_and_closing_forgets() {
        let mut sessions = FetchSessions::default();
        let quiet = |_| answered(0, 0);
        let unknown = fetch(&mut sessions, (9, 1), vec![], quiet);
        assert_eq!(unknown, Err(ResponseError::FetchSessionIdNotFound));
        let (id, _) = fetch(&mut sessions, (0, 0), vec![wanted(0, 0)], quiet).unwrap();
        let skipped = fetch(&mut sessions, (id, 2), vec![], quiet);
        assert_eq!(skipped, Err(ResponseError::InvalidFetchSessionEpoch));
        let by_ids = sessions.open((id, 1), true, vec![], &[]);
        assert_eq!(by_ids.unwrap_err(), ResponseError::FetchSessionTopicIdError);
        assert_eq!(
            fetch(&mut sessions, (id, -1), vec![], quiet),
            Ok((0, vec![]))
        );
        assert!(fetch(&mut sessions, (id, 1), vec![], quiet).is_err());
    }

    #[test]
    fn a_session_without_partitions_ends() {
        let mut sessions = FetchSessions::default();
        let (id, _) = fetch(&mut sessions, (0, 0), vec![wanted(0, 0)], |_| {
            answered(0, 0)
        })
        .unwrap();
        let forgotten = [(TopicRef::name("t"), 0)];
        let (context, wanted) = sessions.open((id, 1), false, vec![], &forgotten).unwrap();
        assert_eq!((context, wanted), (FetchContext::Sessionless, vec![]));
        assert!(sessions.by_id.is_empty());
    }

    #[test]
    fn the_longest_unused_session_makes_room() {
        let mut sessions = FetchSessions::default();
        for _ in 0..=SESSIONS_MAX {
            fetch(&mut sessions, (0, 0), vec![wanted(0, 0)], |_| {
                answered(0, 0)
            })
            .unwrap();
        }
        assert_eq!(sessions.by_id.len(), SESSIONS_MAX);
        assert!(!sessions.by_id.contains_key(&1));
    }
}
