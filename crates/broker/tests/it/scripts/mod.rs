//! Sequences of requests with everything in the answers that does not change from run to run.

mod fetch;
mod offsets;
mod produce;
mod producers;
mod sessions;
mod topics;

use uuid::Uuid;

use crate::transcripts::Transcript;
use crate::wire::Wire;

/// The scripts there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    Produce,
    Producers,
    Fetch,
    Sessions,
    Offsets,
    Topics,
}

impl Name {
    #[cfg(feature = "real")]
    pub(crate) const ALL: [Self; 6] = [
        Self::Produce,
        Self::Producers,
        Self::Fetch,
        Self::Sessions,
        Self::Offsets,
        Self::Topics,
    ];

    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Produce => "produce",
            Self::Producers => "producers",
            Self::Fetch => "fetch",
            Self::Sessions => "sessions",
            Self::Offsets => "offsets",
            Self::Topics => "topics",
        }
    }

    pub(crate) async fn play(self, wire: &mut Wire, transcript: &mut Transcript) {
        match self {
            Self::Produce => produce::play(wire, transcript).await,
            Self::Producers => producers::play(wire, transcript).await,
            Self::Fetch => fetch::play(wire, transcript).await,
            Self::Sessions => sessions::play(wire, transcript).await,
            Self::Offsets => offsets::play(wire, transcript).await,
            Self::Topics => topics::play(wire, transcript).await,
        }
    }
}

/// A topic name that no other run has used.
fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", Uuid::new_v4().simple())
}
