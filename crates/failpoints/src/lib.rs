//! Named points at which a test ends the process, as a power cut would.
//!
//! Between two steps that must not be torn apart, or may be, the code says [`reach`]. In a normal build that is an empty function, so
//! nothing is paid for it and nothing can be switched on. With the feature `armed`, which only the tests of the command turn on, the environment variable
//! [`VARIABLE`] names a point and a number: `segment-stored:3` aborts the process when that point is reached for the third time. An abort
//! runs no destructors and writes no buffers out. With `:panic` behind the number, the thread panics there instead, once: what a mistake in the program would do.
//!
//! What depends on the wall clock is tested in the same way: [`clock_shift_ms`] is 0, or what the variable [`CLOCK`] says.

/// Arms a point: `<name>:<how many times it is reached>[:panic]`; the number may be left out and is then 1.
pub const VARIABLE: &str = "ARMORY_FAILPOINT";

/// Shifts the wall clock by so many milliseconds, which may be negative.
pub const CLOCK: &str = "ARMORY_CLOCK_SHIFT_MS";

macro_rules! points {
    ($($(#[$doc:meta])* $point:ident = $name:literal,)*) => {
        /// A point in the course of a backup or a restore.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Point {
            $($(#[$doc])* $point,)*
        }

        impl Point {
            /// All points.
            pub const ALL: &[Point] = &[$(Point::$point),*];

            /// Its name in the environment variable.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Point::$point => $name,)*
                }
            }
        }
    };
}

points! {
    /// A backup has claimed its generation; older claims are still there.
    GenerationClaimed = "generation-claimed",
    /// A broker has answered a Fetch of a backup, and nothing of the answer was taken.
    AnswerReceived = "answer-received",
    /// Folders: batches of an open segment are durable, and its sidecar does not say so yet.
    BatchesSynced = "batches-synced",
    /// Folders: a new sidecar is durable under a temporary name.
    SidecarWritten = "sidecar-written",
    /// Folders: a segment has its final name, which is not durable yet.
    SegmentLinked = "segment-linked",
    /// The dead letters of a segment are durable, and no manifest names them.
    DeadLettersStored = "dead-letters-stored",
    /// A segment is durable, and no manifest names it.
    SegmentStored = "segment-stored",
    /// A manifest is there: the commit is made, and nobody was told.
    ManifestCreated = "manifest-created",
    /// Folders: after a commit the open segment is gone, and its sidecar is not.
    OpenFileRemoved = "open-file-removed",
    /// All chains are at their ends, and the hint where that is has not been written.
    HeadDue = "head-due",
    /// Folders: a small file (a manifest, an entry of a report) is durable under a temporary name.
    TemporaryWritten = "temporary-written",
    /// A restore has found or created its targets, and has no report.
    TargetsReady = "targets-ready",
    /// Every target partition has a producer id that no report knows.
    ProducersGranted = "producers-granted",
    /// The report says what the restore is, and nothing was sent.
    RestoreBegun = "restore-begun",
    /// A restore has read what landed of its earlier runs.
    LogsRead = "logs-read",
    /// What is to be sent of records that plugins may have changed is in the report, and was not sent.
    IntentsEntered = "intents-entered",
    /// Batches were sent, and their answer is awaited.
    BatchesSent = "batches-sent",
    /// An answer has come, and nobody was told.
    BatchesAcknowledged = "batches-acknowledged",
    /// Every record has landed, and targets do not have their sources' configuration.
    RecordsLanded = "records-landed",
    /// A target has its source's configuration, and the report does not say so.
    ConfigsGiven = "configs-given",
    /// All is done, and the report does not say so.
    DoneDue = "done-due",
    /// The report says that all is done; the process has not ended.
    DoneEntered = "done-entered",
}

#[cfg(feature = "armed")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{CLOCK, Point, VARIABLE};

    /// The point that is armed, and how many times it is still to be passed.
    static ARMED: OnceLock<Option<(Armed, AtomicU64)>> = OnceLock::new();
    static SHIFT: OnceLock<i64> = OnceLock::new();

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Armed {
        point: Point,
        panics: bool,
    }

    fn parse(text: &str) -> Option<(Armed, u64)> {
        let (text, panics) = match text.strip_suffix(":panic") {
            Some(text) => (text, true),
            None => (text, false),
        };
        let (name, times) = match text.split_once(':') {
            Some((name, times)) => (name, times.parse().ok().filter(|times| *times > 0)?),
            None => (text, 1),
        };
        let point = Point::ALL.iter().find(|point| point.name() == name)?;
        let point = *point;
        Some((Armed { point, panics }, times))
    }

    pub(super) fn reach(point: Point) {
        let armed = ARMED.get_or_init(|| {
            let text = std::env::var(VARIABLE).ok()?;
            let (armed, times) = parse(&text).unwrap_or_else(|| {
                panic!(
                    "{VARIABLE}={text} is not a point and a number: see armory_failpoints::Point"
                )
            });
            Some((armed, AtomicU64::new(times)))
        });
        if let Some((wanted, left)) = armed
            && wanted.point == point
            && left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            if wanted.panics {
                panic!("{} was armed to panic", point.name());
            }
            std::process::abort();
        }
    }

    pub(super) fn clock_shift_ms() -> i64 {
        *SHIFT.get_or_init(|| {
            let text = std::env::var(CLOCK).unwrap_or_default();
            if text.is_empty() {
                return 0;
            }
            text.parse()
                .unwrap_or_else(|_| panic!("{CLOCK}={text} is not a number of milliseconds"))
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn points_are_read_with_and_without_a_number() {
            let armed = |point, panics, times| Some((Armed { point, panics }, times));
            assert_eq!(
                parse("segment-stored"),
                armed(Point::SegmentStored, false, 1)
            );
            assert_eq!(parse("done-due:7"), armed(Point::DoneDue, false, 7));
            assert_eq!(parse("done-due:7:panic"), armed(Point::DoneDue, true, 7));
            assert_eq!(parse("done-due:panic"), armed(Point::DoneDue, true, 1));
            for text in ["", "no-such-point", "done-due:", "done-due:0", "done-due:x"] {
                assert_eq!(parse(text), None, "{text}");
            }
        }
    }
}

/// Says that a point is reached. Ends the process there if the feature `armed` is on and the environment wants it.
#[inline(always)]
pub fn reach(point: Point) {
    #[cfg(feature = "armed")]
    armed::reach(point);
    #[cfg(not(feature = "armed"))]
    let _ = point;
}

/// By how many milliseconds the wall clock is to be wrong: 0 without the feature `armed`.
#[inline(always)]
pub fn clock_shift_ms() -> i64 {
    #[cfg(feature = "armed")]
    return armed::clock_shift_ms();
    #[cfg(not(feature = "armed"))]
    0
}

#[cfg(test)]
mod tests {
    use super::Point;

    #[test]
    fn names_differ() {
        let mut names: Vec<_> = Point::ALL.iter().map(|point| point.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Point::ALL.len());
    }
}
