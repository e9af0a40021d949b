//! Batches that are not what they should be, and what is said about them.

mod common;

use armory_records::{
    Batch, BatchBuilder, BatchError, BatchHeader, BatchOptions, Batches, Compression, DecodeBuffer,
    TimestampType,
};
use common::raw_batch;

/// A record without key, value and headers, at offset delta 0.
const RECORD: [u8; 7] = [12, 0, 0, 0, 1, 1, 0];

#[track_caller]
fn check_payload(count: i32, payload: &[u8], expect: BatchError) {
    let bytes = raw_batch(Compression::None, count, payload);
    let mut scratch = DecodeBuffer::new();
    let mut records = Batch::parse(&bytes).unwrap().decode(&mut scratch).unwrap();
    let error = records.find_map(Result::err);
    assert_eq!(error, Some(expect));
    assert!(records.next().is_none(), "an error ends the iteration");
}

#[track_caller]
fn check_record(payload: &[u8], reason: &'static str) {
    check_payload(
        1,
        payload,
        BatchError::Record {
            base_offset: 1000,
            index: 0,
            reason,
        },
    );
}

#[test]
fn a_plain_record_is_fine() {
    let bytes = raw_batch(Compression::None, 1, &RECORD);
    let mut scratch = DecodeBuffer::new();
    let records: Vec<_> = Batch::parse(&bytes)
        .unwrap()
        .decode(&mut scratch)
        .unwrap()
        .collect();
    let record = records[0].clone().unwrap();
    assert_eq!(
        (
            record.offset,
            record.key,
            record.value,
            record.headers.is_empty()
        ),
        (1000, None, None, true)
    );
    assert_eq!(records.len(), 1);
}

#[test]
fn any_negative_length_is_null() {
    // −2 and −1000, where others write −1.
    let bytes = raw_batch(Compression::None, 1, &[14, 0, 0, 0, 3, 0xcf, 0x0f, 0]);
    let mut scratch = DecodeBuffer::new();
    let record = Batch::parse(&bytes)
        .unwrap()
        .decode(&mut scratch)
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    assert_eq!((record.key, record.value), (None, None));
}

#[test]
fn records() {
    check_record(&[], "its length is cut off");
    check_record(&[1], "its length is negative");
    check_record(&[14, 0, 0, 0, 1, 1, 0], "it is longer than the batch");
    check_record(&[0], "its attributes are cut off");
    check_record(&[2, 0], "its timestamp is cut off");
    check_record(&[4, 0, 0], "its offset is cut off");
    check_record(&[6, 0, 0, 0], "its key is cut off");
    check_record(&[8, 0, 0, 0, 2], "its key is cut off");
    check_record(&[8, 0, 0, 0, 1], "its value is cut off");
    check_record(&[10, 0, 0, 0, 1, 2], "its value is cut off");
    check_record(&[10, 0, 0, 0, 1, 1], "its header count is cut off");
    check_record(&[12, 0, 0, 0, 1, 1, 1], "its header count is negative");
    check_record(&[12, 0, 0, 0, 1, 1, 2], "a header's key is cut off");
    check_record(&[14, 0, 0, 0, 1, 1, 2, 1], "a header has no key");
    check_record(&[14, 0, 0, 0, 1, 1, 2, 0], "a header's value is cut off");
    check_record(&[14, 0, 0, 0, 1, 1, 0, 0], "bytes follow its last header");
    // A header count of 2^31 − 1.
    check_record(
        &[20, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f],
        "a header's key is cut off",
    );
    check_record(
        &[12, 0, 0, 1, 1, 1, 0],
        "its offset does not follow the one before",
    );
    check_record(
        &[14, 0, 0, 0xca, 1, 1, 1, 0],
        "its offset lies behind the last one of the batch",
    );
}

#[test]
fn counts() {
    let two = [RECORD, RECORD].concat();
    check_payload(
        1,
        &two,
        BatchError::Surplus {
            base_offset: 1000,
            expected: 1,
            surplus: 7,
        },
    );
    check_payload(
        0,
        &RECORD,
        BatchError::Surplus {
            base_offset: 1000,
            expected: 0,
            surplus: 7,
        },
    );
    let repeated = BatchError::Record {
        base_offset: 1000,
        index: 1,
        reason: "its offset does not follow the one before",
    };
    check_payload(2, &two, repeated);
    let missing = BatchError::Record {
        base_offset: 1000,
        index: 1,
        reason: "its length is cut off",
    };
    check_payload(2, &RECORD, missing);
}

#[test]
fn checksum() {
    let mut bytes = raw_batch(Compression::None, 1, &RECORD);
    assert_eq!(Batch::parse(&bytes).unwrap().verify_crc(), Ok(()));
    *bytes.last_mut().unwrap() ^= 1;
    let batch = Batch::parse(&bytes).unwrap();
    let Err(BatchError::Checksum {
        base_offset: 1000,
        stored,
        computed,
    }) = batch.verify_crc()
    else {
        panic!("the damage must be found");
    };
    assert_eq!(stored, batch.header().crc);
    assert_ne!(stored, computed);
}

#[track_caller]
fn check_header(change: impl FnOnce(&mut BatchHeader), field: &'static str, value: i64) {
    let mut bytes = raw_batch(Compression::None, 1, &RECORD);
    let mut header = BatchHeader::parse(&bytes).unwrap();
    change(&mut header);
    header.write(&mut bytes);
    let expect = BatchError::Header {
        base_offset: header.base_offset,
        field,
        value,
    };
    assert_eq!(BatchHeader::parse(&bytes), Err(expect.clone()));
    let mut batches = Batches::new(&bytes);
    assert_eq!(batches.next().unwrap().unwrap_err(), expect);
    assert!(batches.next().is_none());
}

#[test]
fn headers() {
    check_header(|header| header.base_offset = -1, "baseOffset", -1);
    check_header(|header| header.batch_length = 48, "batchLength", 48);
    check_header(|header| header.batch_length = -1, "batchLength", -1);
    check_header(
        |header| header.partition_leader_epoch = -2,
        "partitionLeaderEpoch",
        -2,
    );
    check_header(
        |header| header.last_offset_delta = -1,
        "lastOffsetDelta",
        -1,
    );
    check_header(
        |header| header.base_offset = i64::MAX - 100,
        "lastOffsetDelta",
        100,
    );
    check_header(|header| header.record_count = -1, "recordsCount", -1);
    check_header(|header| header.record_count = 102, "recordsCount", 102);
}

#[test]
fn what_is_no_batch() {
    assert!(Batches::new(&[]).next().is_none());
    assert!(Batches::new(&[0xff; 16]).next().is_none());
    let unknown = BatchError::UnknownMagic {
        base_offset: 0,
        magic: 3,
    };
    let bytes = [&[0; 16][..], &[3]].concat();
    assert_eq!(Batches::new(&bytes).next().unwrap().unwrap_err(), unknown);
    let cut_off = BatchHeader::parse(&[0; 10]).unwrap_err();
    assert_eq!(
        cut_off,
        BatchError::Truncated {
            needed: 61,
            available: 10
        }
    );
    let whole = raw_batch(Compression::None, 1, &RECORD);
    let cut_off = Batch::parse(&whole[..65]).unwrap_err();
    assert_eq!(
        cut_off,
        BatchError::Truncated {
            needed: 68,
            available: 65
        }
    );
}

#[track_caller]
fn check_unencodable(
    options: BatchOptions,
    records: &[(i64, i64)],
    last_offset: Option<i64>,
    expect: &str,
) {
    let mut builder = BatchBuilder::new(options);
    for (offset, timestamp) in records {
        builder.append(*offset, *timestamp, None, None, []);
    }
    if let Some(last_offset) = last_offset {
        builder.set_last_offset(last_offset);
    }
    let mut out = Vec::new();
    let error = builder.finish(&mut out).unwrap_err();
    assert!(error.to_string().ends_with(expect), "{error}");
    assert!(out.is_empty());
}

#[test]
fn what_cannot_be_encoded() {
    let from_ten = BatchOptions {
        base_offset: 10,
        ..BatchOptions::default()
    };
    let negative = BatchOptions {
        base_offset: -1,
        ..BatchOptions::default()
    };
    let log_append_time = BatchOptions {
        timestamp_type: TimestampType::LogAppendTime,
        ..BatchOptions::default()
    };
    check_unencodable(
        from_ten,
        &[],
        None,
        "a batch without records cannot be written",
    );
    check_unencodable(
        from_ten,
        &[(9, 0)],
        None,
        "its offset lies before the batch",
    );
    check_unencodable(
        from_ten,
        &[(10, 0), (10, 0)],
        None,
        "its offset does not follow the one before",
    );
    check_unencodable(
        from_ten,
        &[(11, 0), (10, 0), (12, 0)],
        None,
        "its offset does not follow the one before",
    );
    check_unencodable(
        from_ten,
        &[(1 << 31, 0), (11 + (1 << 31), 0)],
        None,
        "2147483647 behind the batch's",
    );
    check_unencodable(
        from_ten,
        &[(12, 0)],
        Some(11),
        "behind the offset that the batch is to end with",
    );
    check_unencodable(
        from_ten,
        &[(12, 0)],
        Some(11 + (1 << 31)),
        "is to cover more than 2147483648 offsets",
    );
    check_unencodable(
        negative,
        &[(0, 0)],
        None,
        "offsets run from 0 to 9223372036854775806",
    );
    check_unencodable(
        from_ten,
        &[(i64::MAX, 0)],
        None,
        "offsets run from 0 to 9223372036854775806",
    );
    check_unencodable(
        from_ten,
        &[(12, 0)],
        Some(i64::MAX),
        "to cover end at 9223372036854775806",
    );
    check_unencodable(
        log_append_time,
        &[(0, 5), (1, 6)],
        None,
        "all records of a batch have the same timestamp",
    );
}

#[test]
fn log_append_time_is_kept_where_it_is_asked_for() {
    let options = BatchOptions {
        timestamp_type: TimestampType::LogAppendTime,
        ..BatchOptions::default()
    };
    let mut builder = BatchBuilder::new(options);
    builder.append(0, 5, None, None, []);
    builder.append(1, 5, None, None, []);
    let mut out = Vec::new();
    let header = builder.finish(&mut out).unwrap();
    assert_eq!(
        header.attributes.timestamp_type(),
        TimestampType::LogAppendTime
    );
    let mut scratch = DecodeBuffer::new();
    let records = Batch::parse(&out).unwrap().decode(&mut scratch).unwrap();
    assert!(records.map(|record| record.unwrap().timestamp).eq([5, 5]));
}
