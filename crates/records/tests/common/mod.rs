//! What the tests of this crate share.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::fmt::Write;
use std::path::PathBuf;

use armory_records::{
    Attributes, BatchError, BatchHeader, Batches, Compression, DecodeBuffer, HEADER_LEN,
    TimestampType,
};

/// The folder of the batches that Kafka's client wrote. Tests run in their package's folder.
pub(crate) fn fixtures() -> PathBuf {
    PathBuf::from("tests/fixtures")
}

/// A batch at offset 1000 with this payload, whatever it is, and a checksum that fits.
pub(crate) fn raw_batch(codec: Compression, record_count: i32, payload: &[u8]) -> Vec<u8> {
    let mut header = BatchHeader {
        base_offset: 1000,
        batch_length: (HEADER_LEN - 12 + payload.len()) as i32,
        partition_leader_epoch: 0,
        magic: BatchHeader::MAGIC,
        crc: 0,
        attributes: Attributes::default().with_compression(codec),
        last_offset_delta: 100,
        base_timestamp: 0,
        max_timestamp: 0,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        record_count,
    };
    let mut bytes = vec![0; HEADER_LEN];
    bytes.extend_from_slice(payload);
    header.write(&mut bytes);
    header.crc = crc32c::crc32c(&bytes[21..]);
    header.write(&mut bytes);
    bytes
}

/// The text that `KafkaBatches.java describe` gives for the same batches.
pub(crate) fn describe(bytes: &[u8]) -> Result<String, BatchError> {
    let mut text = String::new();
    let mut scratch = DecodeBuffer::new();
    let mut batches = Batches::new(bytes);
    for batch in &mut batches {
        let batch = batch?;
        batch.verify_crc()?;
        let header = batch.header();
        let attributes = header.attributes;
        let fields = [
            "batch".to_owned(),
            header.base_offset.to_string(),
            header.last_offset().to_string(),
            header.size().to_string(),
            header.partition_leader_epoch.to_string(),
            header.magic.to_string(),
            header.crc.to_string(),
            attributes.compression()?.to_string(),
            match attributes.timestamp_type() {
                TimestampType::CreateTime => "CreateTime".to_owned(),
                TimestampType::LogAppendTime => "LogAppendTime".to_owned(),
            },
            if attributes.is_transactional() {
                "transactional"
            } else {
                "-"
            }
            .to_owned(),
            if attributes.is_control() {
                "control"
            } else {
                "-"
            }
            .to_owned(),
            if attributes.has_delete_horizon() {
                "delete-horizon"
            } else {
                "-"
            }
            .to_owned(),
            header.base_timestamp.to_string(),
            header.max_timestamp.to_string(),
            header.producer_id.to_string(),
            header.producer_epoch.to_string(),
            header.base_sequence.to_string(),
            header.record_count.to_string(),
        ];
        writeln!(text, "{}", fields.join("\t")).unwrap();
        for record in batch.decode(&mut scratch)? {
            let record = record?;
            write!(
                text,
                "record\t{}\t{}\t{}\t{}",
                record.offset,
                record.timestamp,
                hex(record.key),
                hex(record.value)
            )
            .unwrap();
            for (key, value) in record.headers {
                write!(text, "\t{}\t{}", hex(Some(key)), hex(value)).unwrap();
            }
            text.push('\n');
        }
    }
    assert_eq!(batches.remainder().len(), 0, "bytes follow the last batch");
    Ok(text)
}

fn hex(bytes: Option<&[u8]>) -> String {
    match bytes {
        None => "null".to_owned(),
        Some(bytes) if bytes.len() > 2000 => {
            format!("{} bytes {}", bytes.len(), crc32c::crc32c(bytes))
        }
        Some(bytes) => bytes.iter().fold("x".to_owned(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        }),
    }
}
