//! A client that does what it is told: one request, one answer.

use std::ops::Range;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    ApiKey, CreateTopicsRequest, FetchRequest, ListOffsetsRequest, MetadataRequest, ProduceRequest,
    RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

/// Longest time a broker may take to make a change visible.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Wire {
    stream: TcpStream,
    correlation_id: i32,
}

/// A topic as requests of all versions name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: TopicName,
    pub(crate) id: Uuid,
}

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

impl Wire {
    pub(crate) async fn connect(bootstrap: &str) -> Self {
        let stream = TcpStream::connect(bootstrap)
            .await
            .expect("the broker listens");
        stream
            .set_nodelay(true)
            .expect("a TCP socket can be told not to delay");
        Self {
            stream,
            correlation_id: 0,
        }
    }

    /// Sends a request and returns its answer.
    pub(crate) async fn call<R: Request>(&mut self, version: i16, request: R) -> R::Response {
        self.send(version, request).await;
        let frame = self.receive().await.expect("the broker answers");
        self.decode::<R>(version, frame)
    }

    /// Sends a request without waiting.
    pub(crate) async fn send<R: Request>(&mut self, version: i16, request: R) {
        self.correlation_id += 1;
        let api = ApiKey::try_from(R::KEY).expect("requests have known keys");
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(text("wire")));
        let mut body = BytesMut::new();
        header
            .encode(&mut body, api.request_header_version(version))
            .expect("the header is encodable");
        request
            .encode(&mut body, version)
            .expect("the request is encodable");
        self.send_bytes(&body).await;
    }

    pub(crate) async fn send_bytes(&mut self, body: &[u8]) {
        let mut frame = BytesMut::new();
        frame.put_u32(body.len() as u32);
        frame.put_slice(body);
        self.stream
            .write_all(&frame)
            .await
            .expect("the connection is open");
    }

    /// The next answer; `None` if the broker closed the connection.
    pub(crate) async fn receive(&mut self) -> Option<Bytes> {
        let length = self.stream.read_i32().await.ok()?;
        let mut frame = vec![0; length as usize];
        self.stream.read_exact(&mut frame).await.ok()?;
        Some(frame.into())
    }

    /// Decodes the answer to the request sent last; nothing of it may be left over.
    pub(crate) fn decode<R: Request>(&self, version: i16, mut frame: Bytes) -> R::Response {
        let api = ApiKey::try_from(R::KEY).expect("requests have known keys");
        let header = ResponseHeader::decode(&mut frame, api.response_header_version(version))
            .expect("a header");
        assert_eq!(header.correlation_id, self.correlation_id);
        let response = R::Response::decode(&mut frame, version).expect("a response");
        assert!(
            frame.is_empty(),
            "{} bytes follow the response",
            frame.len()
        );
        response
    }

    /// Creates a topic and waits until it can be written to.
    pub(crate) async fn create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Named {
        let configs = configs.iter().map(|(name, value)| {
            CreatableTopicConfig::default()
                .with_name(text(name))
                .with_value(Some(text(value)))
        });
        let topic = CreatableTopic::default()
            .with_name(text(name).into())
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(10_000);
        let response = self.call(7, request).await;
        assert_eq!(
            response.topics[0].error_code, 0,
            "{:?}",
            response.topics[0].error_message
        );
        let named = Named {
            name: text(name).into(),
            id: response.topics[0].topic_id,
        };
        // All of them: Kafka makes itself the leader of one after the other, in no order.
        self.until(&format!("{name} can be written to"), async |wire| {
            let ends = wire.list_offsets(&named.name, 0..partitions, -1).await;
            ends.iter().all(|end| end.error_code == 0)
        })
        .await;
        named
    }

    /// Waits for a condition that the broker brings about.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        mut condition: impl AsyncFnMut(&mut Self) -> bool,
    ) {
        let waiting = async {
            while !condition(self).await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .unwrap_or_else(|_| panic!("waited in vain: {what}"));
    }

    /// The offsets of `partitions` at a time.
    async fn list_offsets(
        &mut self,
        topic: &TopicName,
        partitions: Range<i32>,
        at: i64,
    ) -> Vec<ListOffsetsPartitionResponse> {
        let partitions = partitions.map(|partition| {
            ListOffsetsPartition::default()
                .with_partition_index(partition)
                .with_timestamp(at)
        });
        let topic = ListOffsetsTopic::default()
            .with_name(topic.clone())
            .with_partitions(partitions.collect());
        let request = ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_topics(vec![topic]);
        let mut response = self.call(10, request).await;
        response.topics.remove(0).partitions
    }

    /// Error, offset, timestamp and leader epoch.
    pub(crate) async fn list_offset(
        &mut self,
        topic: &TopicName,
        partition: i32,
        at: i64,
    ) -> (i16, i64, i64, i32) {
        let found = &self.list_offsets(topic, partition..partition + 1, at).await[0];
        (
            found.error_code,
            found.offset,
            found.timestamp,
            found.leader_epoch,
        )
    }

    /// Error code and partition count of a topic, which is not created by asking.
    pub(crate) async fn describe_topic(&mut self, topic: &TopicName) -> (i16, usize, Uuid) {
        let asked = MetadataRequestTopic::default().with_name(Some(topic.clone()));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![asked]))
            .with_allow_auto_topic_creation(false);
        let response = self.call(12, request).await;
        let topic = &response.topics[0];
        (topic.error_code, topic.partitions.len(), topic.topic_id)
    }

    /// Produces to one partition with `acks=all`: by id since version 13, by name before.
    pub(crate) async fn produce(
        &mut self,
        version: i16,
        topic: &Named,
        partition: i32,
        records: Option<Bytes>,
    ) -> PartitionProduceResponse {
        let request = produce_request(version, topic, vec![(partition, records)]).with_acks(-1);
        let mut response = self.call(version, request).await;
        response.responses.remove(0).partition_responses.remove(0)
    }

    /// Appends `batch` and returns its base offset.
    pub(crate) async fn append(&mut self, topic: &Named, partition: i32, batch: &[u8]) -> i64 {
        let response = self
            .produce(13, topic, partition, Some(Bytes::copy_from_slice(batch)))
            .await;
        assert_eq!(response.error_code, 0, "{:?}", response.error_message);
        response.base_offset
    }
}

pub(crate) fn produce_request(
    version: i16,
    topic: &Named,
    partitions: Vec<(i32, Option<Bytes>)>,
) -> ProduceRequest {
    let data = partitions.into_iter().map(|(index, records)| {
        PartitionProduceData::default()
            .with_index(index)
            .with_records(records)
    });
    let topic_data = TopicProduceData::default().with_partition_data(data.collect());
    let topic_data = if version >= 13 {
        topic_data.with_topic_id(topic.id)
    } else {
        topic_data.with_name(topic.name.clone())
    };
    ProduceRequest::default()
        .with_timeout_ms(10_000)
        .with_topic_data(vec![topic_data])
}

/// A fetch from `(partition, offset)` of one topic that waits for nothing and has ample limits.
pub(crate) fn fetch_request(
    version: i16,
    topic: &Named,
    partitions: &[(i32, i64)],
) -> FetchRequest {
    let partitions = partitions.iter().map(|(partition, offset)| {
        FetchPartition::default()
            .with_partition(*partition)
            .with_fetch_offset(*offset)
            .with_partition_max_bytes(1 << 20)
    });
    let asked = FetchTopic::default().with_partitions(partitions.collect());
    let asked = if version >= 13 {
        asked.with_topic_id(topic.id)
    } else {
        asked.with_topic(topic.name.clone())
    };
    let request = FetchRequest::default()
        .with_max_bytes(50 << 20)
        .with_topics(vec![asked]);
    if version < 15 {
        request.with_replica_id((-1).into())
    } else {
        request
    }
}
