//! Records of transactions, as a reader of committed records gets them.

use anyhow::{Result, ensure};
use armory_kafka::{Client, FetchOptions, Fetcher, OffsetSpec, PartitionFetch, TopicMetadata};
use armory_testkit::{Kafka, unique};
use bytes::Bytes;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest,
    ProduceRequest, ProducerId, TopicName, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;

use crate::raw::Raw;
use crate::setup::{
    Producer, assignment, batch, batch_with, client, fetch_until, headers, leader, produce,
    producing, topic,
};

/// A transactional producer, one request after the other.
struct Transactions {
    raw: Raw,
    id: TransactionalId,
    producer: Producer,
}

impl Transactions {
    fn begin() -> Result<Transactions> {
        let mut raw = Raw::connect(Kafka::shared().bootstrap())?;
        let id = TransactionalId(StrBytes::from_string(unique("transactions")));
        let find = FindCoordinatorRequest::default()
            .with_key(id.0.clone())
            .with_key_type(1);
        while raw.call(3, &find)?.error_code != 0 {}
        let init = InitProducerIdRequest::default()
            .with_transactional_id(Some(id.clone()))
            .with_transaction_timeout_ms(60_000);
        loop {
            let answer = raw.call(4, &init)?;
            if answer.error_code == 0 {
                let producer = Producer {
                    id: answer.producer_id.0,
                    epoch: answer.producer_epoch,
                    sequence: 0,
                };
                return Ok(Transactions { raw, id, producer });
            }
        }
    }

    fn write(&mut self, topic: &TopicMetadata, records: i64) -> Result<()> {
        let name = TopicName(StrBytes::from_string(topic.name.clone()));
        let partition = AddPartitionsToTxnTopic::default()
            .with_name(name.clone())
            .with_partitions(vec![0]);
        let add = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.id.clone())
            .with_v3_and_below_producer_id(ProducerId(self.producer.id))
            .with_v3_and_below_producer_epoch(self.producer.epoch)
            .with_v3_and_below_topics(vec![partition]);
        // While the markers of the transaction before are being written, the broker asks to come again.
        loop {
            let added = self.raw.call(3, &add)?;
            let code =
                added.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code;
            match code {
                0 => break,
                51 => {}
                code => anyhow::bail!("AddPartitionsToTxn answered {code}"),
            }
        }
        let records_bytes: Bytes = batch_with(self.producer, true, records, 100);
        let data = PartitionProduceData::default().with_records(Some(records_bytes));
        let request = ProduceRequest::default()
            .with_transactional_id(Some(self.id.clone()))
            .with_acks(-1)
            .with_timeout_ms(30_000)
            .with_topic_data(vec![
                TopicProduceData::default()
                    .with_name(name)
                    .with_partition_data(vec![data]),
            ]);
        let code = self.raw.call(11, &request)?.responses[0].partition_responses[0].error_code;
        ensure!(code == 0, "Produce answered {code}");
        self.producer.sequence += records as i32;
        Ok(())
    }

    fn end(&mut self, committed: bool) -> Result<()> {
        let request = EndTxnRequest::default()
            .with_transactional_id(self.id.clone())
            .with_producer_id(ProducerId(self.producer.id))
            .with_producer_epoch(self.producer.epoch)
            .with_committed(committed);
        let code = self.raw.call(3, &request)?.error_code;
        ensure!(code == 0, "EndTxn answered {code}");
        Ok(())
    }
}

async fn offset(client: &Client, topic: &TopicMetadata, spec: OffsetSpec) -> Result<i64> {
    let key = (topic.name.clone(), 0);
    let found = client
        .list_offsets(std::slice::from_ref(&key), spec)
        .await?;
    Ok(found[&key].expect("it has a leader").offset)
}

fn aborted(fetch: &PartitionFetch) -> Vec<(i64, i64)> {
    let transactions = fetch.aborted.iter();
    transactions
        .map(|transaction| (transaction.producer_id, transaction.first_offset))
        .collect()
}

#[tokio::test]
async fn aborted_transactions_are_listed_and_open_ones_held_back() -> Result<()> {
    let client = client()?;
    let orders = topic(&client, "orders", 1).await?;
    let plain = producing(&client, &orders).await?;
    let mut transactions = Transactions::begin()?;

    produce(&plain, &orders, 0, batch(Producer::NONE, 5, 100)).await?; // 0 to 4
    transactions.write(&orders, 3)?; // 5 to 7
    transactions.end(false)?; // marker 8
    while offset(&client, &orders, OffsetSpec::LastStable).await? < 9 {}
    produce(&plain, &orders, 0, batch(Producer::NONE, 5, 100)).await?; // 9 to 13
    transactions.write(&orders, 2)?; // 14 to 15
    transactions.end(true)?; // marker 16
    while offset(&client, &orders, OffsetSpec::LastStable).await? < 17 {}
    transactions.write(&orders, 4)?; // 17 to 20, open
    produce(&plain, &orders, 0, batch(Producer::NONE, 5, 100)).await?; // 21 to 25

    assert_eq!(offset(&client, &orders, OffsetSpec::LastStable).await?, 17);
    assert_eq!(offset(&client, &orders, OffsetSpec::Latest).await?, 26);
    let states = client.describe_producers(&orders.name, 0).await?;
    let ours = states
        .iter()
        .find(|state| state.producer_id == transactions.producer.id)
        .expect("it is remembered");
    assert_eq!(
        (ours.transaction_start_offset, ours.last_sequence),
        (Some(17), 8)
    );

    let mut committed =
        Fetcher::connect(&client, leader(&orders, 0), FetchOptions::default()).await?;
    committed.assign(assignment(&orders, 0, 0));
    let fetches = fetch_until(&mut committed, &[(0, 17)]).await?;
    // The broker answers from one log segment at a time, and each answer has its own list.
    for fetch in &fetches {
        assert_eq!((fetch.last_stable_offset, fetch.high_watermark), (17, 26));
        assert_eq!(aborted(fetch), [(transactions.producer.id, 5)]);
    }
    let kinds: Vec<_> = fetches
        .iter()
        .flat_map(|fetch| headers(&fetch.records))
        .map(|header| {
            (
                header.base_offset,
                header.attributes.is_transactional(),
                header.attributes.is_control(),
            )
        })
        .collect();
    let expected = [
        (0, false, false),
        (5, true, false),
        (8, true, true),
        (9, false, false),
        (14, true, false),
        (16, true, true),
    ];
    assert_eq!(kinds, expected);

    let everything = FetchOptions {
        read_committed: false,
        ..FetchOptions::default()
    };
    let mut uncommitted = Fetcher::connect(&client, leader(&orders, 0), everything).await?;
    uncommitted.assign(assignment(&orders, 0, 0));
    let fetches = fetch_until(&mut uncommitted, &[(0, 26)]).await?;
    assert!(fetches.iter().all(|fetch| fetch.aborted.is_empty()));

    // Once it is decided, the rest comes.
    transactions.end(false)?;
    let rest = fetch_until(&mut committed, &[(0, 27)]).await?;
    let aborted: Vec<_> = rest.iter().flat_map(aborted).collect();
    assert!(
        aborted.contains(&(transactions.producer.id, 17)),
        "{aborted:?}"
    );
    Ok(())
}
