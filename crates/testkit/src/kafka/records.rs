//! Single records and batches: written as a test names them, and read back through Kafka's own consumer.

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Kafka;
use super::dataset::Codec;

/// A record as it was read, or is to be written (where its offset and its timestamp's type mean nothing).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The partition's number.
    pub partition: i32,
    /// Its offset in the partition.
    pub offset: i64,
    /// Milliseconds since 1970; -1 is "none".
    pub timestamp: i64,
    /// Who set the timestamp.
    pub timestamp_type: TimestampType,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// Names and values in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Who set a record's timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum TimestampType {
    /// The producer.
    CreateTime,
    /// The broker.
    LogAppendTime,
    /// Nobody: the message format is too old to have one.
    NoTimestampType,
}

impl Record {
    /// A record for partition 0 with a timestamp of 2023.
    pub fn new(key: Option<&str>, value: Option<&str>) -> Record {
        Record {
            partition: 0,
            offset: 0,
            timestamp: 1_700_000_000_000,
            timestamp_type: TimestampType::CreateTime,
            key: key.map(|key| key.as_bytes().to_vec()),
            value: value.map(|value| value.as_bytes().to_vec()),
            headers: Vec::new(),
        }
    }

    /// The same record for another partition.
    #[must_use]
    pub fn partition(mut self, partition: i32) -> Record {
        self.partition = partition;
        self
    }

    /// The same record at another time.
    #[must_use]
    pub fn timestamp(mut self, timestamp: i64) -> Record {
        self.timestamp = timestamp;
        self
    }

    /// Adds a header at the end.
    #[must_use]
    pub fn header(mut self, name: &str, value: Option<&[u8]>) -> Record {
        self.headers
            .push((name.to_owned(), value.map(<[u8]>::to_vec)));
        self
    }

    fn to_json(&self) -> Value {
        let base64 = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| BASE64.encode(bytes));
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| json!([name, base64(value)]))
            .collect();
        json!({
            "partition": self.partition,
            "timestamp": self.timestamp,
            "key": base64(&self.key),
            "value": base64(&self.value),
            "headers": headers,
        })
    }
}

/// A record on its way through JSON, with bytes in base64.
#[derive(Deserialize)]
struct Wire {
    partition: i32,
    offset: i64,
    timestamp: i64,
    timestamp_type: TimestampType,
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(String, Option<String>)>,
}

impl Wire {
    fn into_record(self) -> Result<Record> {
        let decode = |text: Option<String>| -> Result<Option<Vec<u8>>> {
            text.map(|text| BASE64.decode(text).context("base64 of the Java tools"))
                .transpose()
        };
        let headers = self
            .headers
            .into_iter()
            .map(|(name, value)| Ok((name, decode(value)?)));
        Ok(Record {
            partition: self.partition,
            offset: self.offset,
            timestamp: self.timestamp,
            timestamp_type: self.timestamp_type,
            key: decode(self.key)?,
            value: decode(self.value)?,
            headers: headers.collect::<Result<_>>()?,
        })
    }
}

/// What a broker answered to a Produce request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct RawAnswer {
    /// Kafka's error code; 0 is success.
    pub error_code: i16,
    /// The offset that the first record got, or -1.
    pub base_offset: i64,
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Its records become visible.
    Commit,
    /// Its records stay in the log and are skipped by read-committed consumers.
    Abort,
    /// The last stable offset stays before it until [`Kafka::end_transaction`], or until it times out after this
    /// process ended.
    LeaveOpen,
}

/// How long a transaction that was left open holds the last stable offset, in milliseconds. Kafka's own limit.
const TRANSACTION_TIMEOUT: u32 = 900_000;

impl Kafka {
    /// Writes records through Kafka's own producer, as one or few batches per partition, and returns their offsets.
    pub fn produce(&self, topic: &str, codec: Codec, records: &[Record]) -> Result<Vec<i64>> {
        let records: Vec<Value> = records.iter().map(Record::to_json).collect();
        self.ask(
            "produce",
            json!({"topic": topic, "codec": codec, "records": records}),
        )
    }

    /// Sends bytes as the records of one Produce request, whatever they are, and returns what the broker answered.
    pub fn produce_raw(&self, topic: &str, partition: i32, records: &[u8]) -> Result<RawAnswer> {
        self.ask(
            "produce-raw",
            json!({"topic": topic, "partition": partition, "records": BASE64.encode(records)}),
        )
    }

    /// Writes records in a transaction, in turn to all partitions. Their values are `<id>-0`, `<id>-1` and so on;
    /// `id` is the transactional id, and a commit or abort marker follows in every partition that got one.
    pub fn transaction(&self, topic: &str, id: &str, records: u32, end: Ending) -> Result<()> {
        self.ask(
            "transaction",
            json!({
                "topic": topic,
                "id": id,
                "records": records,
                "end": end,
                "timeout_ms": TRANSACTION_TIMEOUT,
            }),
        )
    }

    /// Ends a transaction that this process left open.
    pub fn end_transaction(&self, id: &str, end: Ending) -> Result<()> {
        self.ask("end-transaction", json!({"id": id, "end": end}))
    }

    /// All committed records of a small topic, partition after partition.
    pub fn dump(&self, topic: &str) -> Result<Vec<Record>> {
        self.dump_with(topic, "read_committed")
    }

    /// All records of a small topic, those of aborted and open transactions included.
    pub fn dump_uncommitted(&self, topic: &str) -> Result<Vec<Record>> {
        self.dump_with(topic, "read_uncommitted")
    }

    fn dump_with(&self, topic: &str, isolation: &str) -> Result<Vec<Record>> {
        let records: Vec<Wire> =
            self.ask("dump", json!({"topic": topic, "isolation": isolation}))?;
        records.into_iter().map(Wire::into_record).collect()
    }
}
