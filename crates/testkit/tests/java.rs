//! What the test kit does through Kafka's own clients.
#![cfg(feature = "real")]

use anyhow::Result;
use armory_testkit::kafka::records::RawAnswer;
use armory_testkit::{Codec, Dataset, Ending, Kafka, Record, TimestampType, unique};

fn topic(kafka: &Kafka, partitions: i32, configs: &[(&str, &str)]) -> Result<String> {
    let name = unique("testkit");
    kafka.create_topic(&name, partitions, configs)?;
    Ok(name)
}

#[test]
fn a_dataset_is_the_same_for_the_same_seed() -> Result<()> {
    let kafka = Kafka::shared();
    let forever = [("message.timestamp.after.max.ms", "9223372036854775807")];
    let (first, second) = (topic(kafka, 3, &forever)?, topic(kafka, 3, &forever)?);
    let dataset = |topic: &str| Dataset::new(topic).megabytes(20).extreme_timestamps();
    let written = kafka.write_dataset(&dataset(&first))?;
    kafka.write_dataset(&dataset(&second))?;
    let equal = kafka.compare(&first, &second)?;
    assert!(equal.records > 5000, "{equal:?}");
    assert_eq!(
        (equal.records, equal.bytes),
        (written.records, written.bytes)
    );
    assert_eq!(equal.first_timestamp_types, [TimestampType::CreateTime]);

    let other = topic(kafka, 3, &forever)?;
    kafka.write_dataset(&dataset(&other).seed(2))?;
    kafka.compare(&first, &other).unwrap_err();
    Ok(())
}

#[test]
fn a_dataset_has_every_shape() -> Result<()> {
    let kafka = Kafka::shared();
    let topic = topic(kafka, 1, &[])?;
    kafka.write_dataset(&Dataset::new(&topic).megabytes(6))?;
    let records = kafka.dump(&topic)?;
    let has = |what: &str, shape: &dyn Fn(&Record) -> bool| {
        assert!(records.iter().any(shape), "no record has {what}");
    };
    has("a null key", &|record| record.key.is_none());
    has("an empty key", &|record| record.key == Some(vec![]));
    has("a null value", &|record| record.value.is_none());
    has("an empty value", &|record| record.value == Some(vec![]));
    has("a large value", &|record| {
        record.value.as_ref().is_some_and(|v| v.len() >= 900_000)
    });
    has("no header", &|record| record.headers.is_empty());
    has("fifty headers", &|record| record.headers.len() == 50);
    has("a null header", &|record| {
        record.headers.iter().any(|(_, value)| value.is_none())
    });
    has("duplicate headers", &|record| {
        let names: Vec<_> = record.headers.iter().map(|(name, _)| name).collect();
        names
            .iter()
            .enumerate()
            .any(|(index, name)| names[..index].contains(name))
    });
    has("timestamp 0", &|record| record.timestamp == 0);
    has("timestamp -1", &|record| record.timestamp == -1);
    Ok(())
}

#[test]
fn records_come_back_as_they_were_written() -> Result<()> {
    let kafka = Kafka::shared();
    let topic = topic(kafka, 2, &[("message.timestamp.type", "LogAppendTime")])?;
    let records = [
        Record::new(Some("key"), None)
            .header("a", None)
            .header("a", Some(b"\xff")),
        Record::new(None, Some("")).partition(1).timestamp(-1),
    ];
    assert_eq!(kafka.produce(&topic, Codec::Zstd, &records)?, [0, 0]);
    let read = kafka.dump(&topic)?;
    assert_eq!(read.len(), 2);
    for (read, written) in read.iter().zip(&records) {
        assert_eq!(read.timestamp_type, TimestampType::LogAppendTime);
        assert_eq!((&read.key, &read.value), (&written.key, &written.value));
        assert_eq!(
            (read.partition, &read.headers),
            (written.partition, &written.headers)
        );
    }
    Ok(())
}

#[test]
fn a_comparison_names_the_first_difference() -> Result<()> {
    let kafka = Kafka::shared();
    let (first, second) = (topic(kafka, 1, &[])?, topic(kafka, 1, &[])?);
    let same = Record::new(Some("a"), Some("b"));
    kafka.produce(
        &first,
        Codec::None,
        &[same.clone(), same.clone().header("h", None)],
    )?;
    kafka.produce(&second, Codec::Lz4, &[same.clone(), same])?;
    let error = kafka.compare(&first, &second).unwrap_err().to_string();
    assert!(
        error.contains("after 1 equal records, a header differs"),
        "{error}"
    );
    let comparison = armory_testkit::Comparison::new((kafka, &first), (kafka, &second));
    assert_eq!(comparison.clone().ignore_header("h").run()?.records, 2);
    assert!(comparison.between(None, Some(0)).run().is_err());
    Ok(())
}

#[test]
fn transactions_hold_the_last_stable_offset() -> Result<()> {
    let kafka = Kafka::shared();
    let topic = topic(kafka, 1, &[])?;
    kafka.transaction(&topic, &unique("committed"), 2, Ending::Commit)?;
    kafka.transaction(&topic, &unique("aborted"), 3, Ending::Abort)?;
    let open = unique("open");
    kafka.transaction(&topic, &open, 4, Ending::LeaveOpen)?;
    let partition = kafka.topic(&topic)?.partitions[0];
    // Two records and a marker, three records and a marker, four records.
    assert_eq!(
        (partition.start, partition.stable, partition.end),
        (0, 7, 11)
    );
    assert_eq!(kafka.dump(&topic)?.len(), 2);
    assert_eq!(kafka.dump_uncommitted(&topic)?.len(), 9);
    kafka.end_transaction(&open, Ending::Commit)?;
    assert_eq!(kafka.dump(&topic)?.len(), 6);
    Ok(())
}

#[test]
fn topics_can_be_changed() -> Result<()> {
    let kafka = Kafka::shared();
    let topic = topic(kafka, 1, &[("cleanup.policy", "compact")])?;
    kafka.add_partitions(&topic, 3)?;
    kafka.set_topic_configs(
        &topic,
        &[("cleanup.policy", None), ("retention.ms", Some("-1"))],
    )?;
    kafka.produce(&topic, Codec::Gzip, &vec![Record::new(None, Some("x")); 5])?;
    kafka.delete_records(&topic, 0, 2)?;
    let seen = kafka.topic(&topic)?;
    assert_eq!(seen.partitions.len(), 3);
    assert_eq!((seen.partitions[0].start, seen.partitions[0].end), (2, 5));
    assert_eq!(
        seen.configs,
        [("retention.ms".to_owned(), "-1".to_owned())].into()
    );
    kafka.delete_topic(&topic)
}

#[test]
fn raw_bytes_are_judged_by_the_broker() -> Result<()> {
    let kafka = Kafka::shared();
    let topic = topic(kafka, 1, &[])?;
    let answer = kafka.produce_raw(&topic, 0, &[0; 61])?;
    // CORRUPT_MESSAGE: a batch of length 0 is none.
    assert_eq!(
        answer,
        RawAnswer {
            error_code: 2,
            base_offset: -1
        }
    );
    Ok(())
}

#[test]
fn own_kafka_moves_leaders() -> Result<()> {
    let kafka = Kafka::start(armory_testkit::KafkaOptions::three_nodes())?;
    kafka.create_topic("orders", 2, &[])?;
    let leaders = |kafka: &Kafka| -> Result<Vec<i32>> {
        Ok(kafka
            .topic("orders")?
            .partitions
            .iter()
            .map(|partition| partition.leader)
            .collect())
    };
    let before = leaders(&kafka)?;
    kafka.move_leaders("orders")?;
    let after = leaders(&kafka)?;
    assert!(
        before
            .iter()
            .zip(&after)
            .all(|(before, after)| before != after),
        "{before:?} {after:?}"
    );
    Ok(())
}
