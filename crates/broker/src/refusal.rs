//! Why something is refused.

use kafka_protocol::ResponseError;

/// The error code a client gets for a request, or one item of it, and a sentence for the person behind the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    pub(crate) code: ResponseError,
    pub(crate) message: String,
    /// Positions within the batch of the records that caused it, each with its own reason; mostly empty.
    pub(crate) records: Vec<(i32, String)>,
}

impl Refusal {
    pub(crate) fn new(code: ResponseError, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            records: Vec::new(),
        }
    }
}
