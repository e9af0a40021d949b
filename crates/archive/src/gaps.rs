//! Stretches of offsets for which an archive holds nothing, each with the cause.
//!
//! A transactional topic has a control record, and so a gap, after every few records. Written one by one
//! they would outweigh the manifest, so each cause has a stream of runs `[skip, length, times]`: from the
//! end of the cause's last gap (at first: the manifest's base) skip `skip` offsets, then `length` offsets are
//! missing; `times` times over. In memory the runs are packed as varints.

use std::fmt;

use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why offsets are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapCause {
    /// They lay before the log's start when the backup came to them: retention or DeleteRecords.
    BeforeLogStart,
    /// Records of an aborted transaction.
    Aborted,
    /// Control records (transaction markers).
    Control,
    /// A plugin decided against them.
    Filtered,
    /// A plugin failed on them, and they were put aside.
    DeadLettered,
    /// The source had nothing there: compaction, or loss at the source.
    AbsentAtSource,
    /// They were archived, and taken away later: expired, or on request.
    Pruned,
}

impl GapCause {
    /// All causes, in the order in which they are listed.
    pub const ALL: [Self; 7] = [
        Self::BeforeLogStart,
        Self::Aborted,
        Self::Control,
        Self::Filtered,
        Self::DeadLettered,
        Self::AbsentAtSource,
        Self::Pruned,
    ];

    /// The name as written in manifests, e.g. `before-log-start`.
    pub fn name(self) -> &'static str {
        match self {
            Self::BeforeLogStart => "before-log-start",
            Self::Aborted => "aborted",
            Self::Control => "control",
            Self::Filtered => "filtered",
            Self::DeadLettered => "dead-lettered",
            Self::AbsentAtSource => "absent-at-source",
            Self::Pruned => "pruned",
        }
    }
}

impl fmt::Display for GapCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One gap: offsets from `start` (inclusive) to `end` (exclusive).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The first missing offset.
    pub start: i64,
    /// The offset after the last missing one.
    pub end: i64,
    /// Why they are missing.
    pub cause: GapCause,
}

/// The gaps of one manifest, by cause, relative to the manifest's base.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gaps {
    streams: Vec<Stream>,
}

impl Gaps {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Adds `gap`, which must not begin before the end of any gap added before; `base` is the manifest's.
    /// A gap that touches its predecessor of the same cause is merged with it.
    pub(crate) fn push(&mut self, base: i64, gap: Gap) {
        debug_assert!(base <= gap.start && gap.start < gap.end);
        let start = gap.start.abs_diff(base);
        let length = gap.end.abs_diff(gap.start);
        let stream = match self.streams.binary_search_by_key(&gap.cause, |s| s.cause) {
            Ok(at) => &mut self.streams[at],
            Err(at) => {
                self.streams.insert(at, Stream::new(gap.cause));
                &mut self.streams[at]
            }
        };
        stream.push(start, length);
    }

    /// The gaps in ascending order; `base` is the manifest's.
    pub fn iter(&self, base: i64) -> impl Iterator<Item = Gap> + use<'_> {
        let mut streams: Vec<_> = self
            .streams
            .iter()
            .map(|stream| stream.gaps(base).peekable())
            .collect();
        std::iter::from_fn(move || {
            streams
                .iter_mut()
                .filter_map(|stream| stream.peek().map(|gap| gap.start).map(|at| (at, stream)))
                .min_by_key(|(start, _)| *start)
                .and_then(|(_, stream)| stream.next())
        })
    }

    /// How many offsets are missing for `cause`.
    pub fn offsets(&self, cause: GapCause) -> u64 {
        self.streams
            .iter()
            .filter(|stream| stream.cause == cause)
            .flat_map(Stream::runs)
            .map(|run| run.length.saturating_mul(run.times))
            .fold(0, u64::saturating_add)
    }

    /// Bytes of memory held.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.streams.capacity() * size_of::<Stream>()
            + self
                .streams
                .iter()
                .map(|s| s.packed.capacity())
                .sum::<usize>()
    }
}

/// One run: `times` gaps of `length` offsets, each after `skip` offsets that are no gap of this cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    skip: u64,
    length: u64,
    times: u64,
}

/// The gaps of one cause.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stream {
    cause: GapCause,
    /// The finished runs, three varints each.
    packed: Vec<u8>,
    /// The run that may still grow; its `times` is 0 before the first gap.
    last: Run,
    /// The end of the last gap, relative to the manifest's base.
    end: u64,
}

impl Stream {
    fn new(cause: GapCause) -> Self {
        Self {
            cause,
            packed: Vec::new(),
            last: Run {
                skip: 0,
                length: 0,
                times: 0,
            },
            end: 0,
        }
    }

    fn push(&mut self, start: u64, length: u64) {
        let skip = start - self.end;
        self.end = start + length;
        if self.last.times == 0 {
            self.last = Run {
                skip,
                length,
                times: 1,
            };
        } else if skip == 0 {
            // The last gap grows, and so leaves the run it was part of.
            let grown = Run {
                skip: self.last.skip,
                length: self.last.length + length,
                times: 1,
            };
            self.last.times -= 1;
            if self.last.times > 0 {
                self.finish_run();
            }
            self.last = grown;
        } else if skip == self.last.skip && length == self.last.length {
            self.last.times += 1;
        } else {
            self.finish_run();
            self.last = Run {
                skip,
                length,
                times: 1,
            };
        }
    }

    fn finish_run(&mut self) {
        let Run {
            skip,
            length,
            times,
        } = self.last;
        for number in [skip, length, times] {
            put_varint(&mut self.packed, number);
        }
    }

    fn runs(&self) -> impl Iterator<Item = Run> + use<'_> {
        let mut packed = self.packed.as_slice();
        let finished = std::iter::from_fn(move || {
            Some(Run {
                skip: take_varint(&mut packed)?,
                length: take_varint(&mut packed)?,
                times: take_varint(&mut packed)?,
            })
        });
        finished.chain((self.last.times > 0).then_some(self.last))
    }

    fn gaps(&self, base: i64) -> impl Iterator<Item = Gap> + use<'_> {
        let mut position = base;
        let cause = self.cause;
        self.runs()
            .flat_map(|run| (0..run.times).map(move |_| run))
            .map(move |run| {
                // What was deserialised cannot leave the range of offsets: see `Deserialize`.
                let start = position.saturating_add_unsigned(run.skip);
                let end = start.saturating_add_unsigned(run.length);
                position = end;
                Gap { start, end, cause }
            })
    }
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_varint(input: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = input.split_first()?;
        *input = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

impl Serialize for Gaps {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.streams.len()))?;
        for stream in &self.streams {
            let runs: Vec<[u64; 3]> = stream
                .runs()
                .map(|run| [run.skip, run.length, run.times])
                .collect();
            map.serialize_entry(&stream.cause, &runs)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Gaps {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;

        let causes =
            std::collections::BTreeMap::<GapCause, Vec<[u64; 3]>>::deserialize(deserializer)?;
        let mut streams = Vec::with_capacity(causes.len());
        for (cause, runs) in causes {
            let mut stream = Stream::new(cause);
            for [skip, length, times] in runs {
                let end = skip
                    .checked_add(length)
                    .and_then(|one| one.checked_mul(times))
                    .and_then(|all| all.checked_add(stream.end))
                    .filter(|end| *end <= i64::MAX.unsigned_abs() && length > 0 && times > 0)
                    .ok_or_else(|| {
                        D::Error::custom(format_args!("a run of gaps {skip}, {length}, {times}"))
                    })?;
                if stream.last.times > 0 {
                    stream.finish_run();
                }
                stream.last = Run {
                    skip,
                    length,
                    times,
                };
                stream.end = end;
            }
            if stream.last.times > 0 {
                streams.push(stream);
            }
        }
        Ok(Self { streams })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gaps(base: i64, list: &[(i64, i64, GapCause)]) -> Gaps {
        let mut gaps = Gaps::default();
        for &(start, end, cause) in list {
            gaps.push(base, Gap { start, end, cause });
        }
        gaps
    }

    #[test]
    fn one_control_record_a_transaction_is_one_run() {
        let mut gaps = Gaps::default();
        for transaction in 0..100_000 {
            let start = 1000 + transaction * 17 + 16;
            gaps.push(
                1000,
                Gap {
                    start,
                    end: start + 1,
                    cause: GapCause::Control,
                },
            );
        }
        let text = serde_json::to_string(&gaps).unwrap();
        assert_eq!(text, r#"{"control":[[16,1,100000]]}"#);
        assert_eq!(gaps.offsets(GapCause::Control), 100_000);
        assert!(gaps.heap_bytes() < 1000);
    }

    #[test]
    fn touching_gaps_of_one_cause_are_one_gap() {
        use GapCause::{Aborted, Control, Filtered};
        let merged = gaps(
            0,
            &[
                (2, 3, Aborted),
                (5, 6, Aborted),
                (6, 9, Aborted),
                (9, 10, Control),
            ],
        );
        let text = serde_json::to_string(&merged).unwrap();
        assert_eq!(text, r#"{"aborted":[[2,1,1],[2,4,1]],"control":[[9,1,1]]}"#);
        let from_base = gaps(7, &[(7, 9, Filtered)]);
        assert_eq!(
            serde_json::to_string(&from_base).unwrap(),
            r#"{"filtered":[[0,2,1]]}"#
        );
    }

    #[test]
    fn impossible_runs_are_refused() {
        for text in [
            r#"{"control":[[0,0,1]]}"#,
            r#"{"control":[[0,1,0]]}"#,
            r#"{"control":[[9223372036854775807,1,1]]}"#,
            r#"{"control":[[1,1,9223372036854775807]]}"#,
            r#"{"lost":[[0,1,1]]}"#,
        ] {
            assert!(serde_json::from_str::<Gaps>(text).is_err(), "{text}");
        }
    }

    fn cause() -> impl Strategy<Value = GapCause> {
        proptest::sample::select(&GapCause::ALL[..])
    }

    proptest! {
        #[test]
        fn what_was_pushed_comes_back(
            base in 0i64..1 << 40,
            steps in proptest::collection::vec((0i64..5, 1i64..4, cause()), 0..200),
        ) {
            let mut position = base;
            let mut pushed: Vec<Gap> = Vec::new();
            let mut coded = Gaps::default();
            for (skip, length, cause) in steps {
                let gap = Gap { start: position + skip, end: position + skip + length, cause };
                position = gap.end;
                coded.push(base, gap);
                match pushed.last_mut() {
                    Some(last) if last.cause == cause && last.end == gap.start => last.end = gap.end,
                    _ => pushed.push(gap),
                }
            }
            prop_assert_eq!(coded.iter(base).collect::<Vec<_>>(), pushed.clone());
            let text = serde_json::to_string(&coded).unwrap();
            let read: Gaps = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(read.iter(base).collect::<Vec<_>>(), pushed);
        }
    }
}
