//! A Produce request as bytes that point at the batches instead of holding them.
//!
//! `kafka-protocol` encodes into one buffer and so copies every batch. Writing the few fields around them by hand leaves
//! them where they are; the tests hold every version against the codec's own bytes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use uuid::Uuid;

use super::ProduceBatch;
use crate::api::PRODUCE_BY_TOPIC_ID;
use crate::connection::Encoded;

/// The first version with compact lengths and tagged fields (KIP-482).
const FLEXIBLE: i16 = 9;
/// Acknowledged by all in-sync replicas.
const ACKS_ALL: i16 = -1;

/// The batches of one topic.
#[derive(Debug)]
pub(super) struct TopicBatches<'a> {
    pub(super) name: &'a Arc<str>,
    pub(super) id: Option<Uuid>,
    batches: Vec<&'a ProduceBatch>,
}

/// Groups batches by topic, in the order in which topics appear first.
pub(super) fn by_topic(batches: &[ProduceBatch]) -> Vec<TopicBatches<'_>> {
    let mut topics: Vec<TopicBatches<'_>> = Vec::new();
    let mut places: HashMap<(&Arc<str>, Option<Uuid>), usize> = HashMap::new();
    for batch in batches {
        let place = *places
            .entry((&batch.topic, batch.topic_id))
            .or_insert_with(|| {
                topics.push(TopicBatches {
                    name: &batch.topic,
                    id: batch.topic_id,
                    batches: Vec::new(),
                });
                topics.len() - 1
            });
        topics[place].batches.push(batch);
    }
    topics
}

/// Encodes the body of a request behind `head`.
pub(super) fn produce(
    head: BytesMut,
    version: i16,
    timeout: Duration,
    topics: &[TopicBatches<'_>],
) -> Encoded {
    let mut body = Body {
        head,
        rest: Vec::new(),
        tail: BytesMut::new(),
        is_flexible: version >= FLEXIBLE,
    };
    body.no_transactional_id();
    body.fields().put_i16(ACKS_ALL);
    body.fields()
        .put_i32(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX));
    body.array(topics.len());
    for topic in topics {
        if version >= PRODUCE_BY_TOPIC_ID {
            body.fields()
                .put_slice(topic.id.unwrap_or_default().as_bytes());
        } else {
            body.string(topic.name);
        }
        body.array(topic.batches.len());
        for batch in &topic.batches {
            body.fields().put_i32(batch.partition);
            body.records(&batch.records);
            body.no_tags();
        }
        body.no_tags();
    }
    body.no_tags();
    body.finish()
}

/// A request body in the making: fields, and between them records that stay where they are.
#[derive(Debug)]
struct Body {
    /// The fields up to the first records.
    head: BytesMut,
    /// Records and the fields between them.
    rest: Vec<Bytes>,
    /// The fields after the last records.
    tail: BytesMut,
    is_flexible: bool,
}

impl Body {
    fn fields(&mut self) -> &mut BytesMut {
        if self.rest.is_empty() {
            &mut self.head
        } else {
            &mut self.tail
        }
    }

    fn records(&mut self, records: &Bytes) {
        let len = records.len();
        if self.is_flexible {
            self.varint(len + 1);
        } else {
            self.fields().put_i32(len as i32);
        }
        if !self.tail.is_empty() {
            self.rest.push(self.tail.split().freeze());
        }
        self.rest.push(records.clone());
    }

    fn no_transactional_id(&mut self) {
        if self.is_flexible {
            self.varint(0);
        } else {
            self.fields().put_i16(-1);
        }
    }

    fn array(&mut self, len: usize) {
        if self.is_flexible {
            self.varint(len + 1);
        } else {
            self.fields().put_i32(len as i32);
        }
    }

    fn string(&mut self, text: &str) {
        if self.is_flexible {
            self.varint(text.len() + 1);
        } else {
            self.fields().put_i16(text.len() as i16);
        }
        self.fields().put_slice(text.as_bytes());
    }

    fn no_tags(&mut self) {
        if self.is_flexible {
            self.varint(0);
        }
    }

    fn varint(&mut self, mut value: usize) {
        let fields = self.fields();
        while value >= 0x80 {
            fields.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        fields.put_u8(value as u8);
    }

    fn finish(self) -> Encoded {
        let Body {
            head,
            mut rest,
            tail,
            ..
        } = self;
        if !tail.is_empty() {
            rest.push(tail.freeze());
        }
        Encoded { head, rest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::ProduceRequest;
    use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
    use kafka_protocol::protocol::{Encodable as _, Message as _};

    use crate::metadata::topic_name;

    fn batch(topic: &str, id: u128, partition: i32, len: usize) -> ProduceBatch {
        let records = Bytes::from(vec![partition as u8; len]);
        ProduceBatch {
            topic: topic.into(),
            topic_id: Some(Uuid::from_u128(id)),
            partition,
            records,
        }
    }

    /// What the codec makes of the same batches.
    fn by_codec(version: i16, timeout: Duration, topics: &[TopicBatches<'_>]) -> BytesMut {
        let topic_data = topics.iter().map(|topic| {
            let partitions = topic.batches.iter().map(|batch| {
                PartitionProduceData::default()
                    .with_index(batch.partition)
                    .with_records(Some(batch.records.clone()))
            });
            TopicProduceData::default()
                .with_name(topic_name(topic.name))
                .with_topic_id(topic.id.unwrap_or_default())
                .with_partition_data(partitions.collect())
        });
        let request = ProduceRequest::default()
            .with_transactional_id(None)
            .with_acks(-1)
            .with_timeout_ms(timeout.as_millis() as i32)
            .with_topic_data(topic_data.collect());
        let mut bytes = BytesMut::new();
        request.encode(&mut bytes, version).unwrap();
        bytes
    }

    #[test]
    fn every_version_is_encoded_as_the_codec_does() {
        let batches = [
            batch("orders", 1, 0, 100),
            batch("payments", 2, 7, 20_000),
            batch("orders", 1, 3, 127),
            batch("orders", 1, 4, 0),
        ];
        let timeout = Duration::from_secs(30);
        let topics = by_topic(&batches);
        assert_eq!(topics.len(), 2);
        for version in ProduceRequest::VERSIONS.min..=ProduceRequest::VERSIONS.max {
            let encoded = produce(BytesMut::new(), version, timeout, &topics);
            let mut ours = encoded.head;
            encoded.rest.iter().for_each(|piece| ours.put_slice(piece));
            assert_eq!(
                ours,
                by_codec(version, timeout, &topics),
                "version {version}"
            );
        }
    }

    #[test]
    fn records_are_not_copied() {
        let batches = [batch("orders", 1, 0, 100), batch("orders", 1, 1, 100)];
        let encoded = produce(BytesMut::new(), 13, Duration::ZERO, &by_topic(&batches));
        for batch in &batches {
            assert!(
                encoded
                    .rest
                    .iter()
                    .any(|piece| piece.as_ptr() == batch.records.as_ptr())
            );
        }
    }
}
