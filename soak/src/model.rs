//! What must be where: records by partition and offset, known by their digests.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Result, ensure};
use armory_records::{Batches, DecodeBuffer, Record};

/// What tells a record from others: key, value, headers in order and timestamp.
pub(crate) type Digest = [u8; 16];

/// The records of one partition, by offset.
pub(crate) type Log = BTreeMap<i64, Digest>;

/// The records of a topic, by partition.
pub(crate) type Logs = BTreeMap<i32, Log>;

/// The digest of a record, which its offset and its partition are no part of.
pub(crate) fn digest(record: &Record<'_>) -> Digest {
    let mut hasher = blake3::Hasher::new();
    let mut field = |bytes: Option<&[u8]>| {
        let length = bytes.map_or(-1, |bytes| bytes.len() as i64);
        hasher.update(&length.to_le_bytes());
        hasher.update(bytes.unwrap_or_default());
    };
    field(record.key);
    field(record.value);
    field(Some(record.headers.bytes()));
    field(Some(&record.timestamp.to_le_bytes()));
    let mut digest = [0; 16];
    digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    digest
}

/// Adds the records of whole batches to a log, but for those of control batches, and those that `keep` does not want.
pub(crate) fn take_in(
    bytes: &[u8],
    log: &mut Log,
    scratch: &mut DecodeBuffer,
    mut keep: impl FnMut(&armory_records::BatchHeader) -> bool,
) -> Result<()> {
    for batch in Batches::new(bytes) {
        let batch = batch?;
        batch.verify_crc()?;
        if batch.header().attributes.is_control() || !keep(batch.header()) {
            continue;
        }
        for record in batch.decode(scratch)? {
            let record = record?;
            let before = log.insert(record.offset, digest(&record));
            ensure!(before.is_none(), "offset {} is there twice", record.offset);
        }
    }
    Ok(())
}

/// Holds a log against another one, record by record in order; offsets count where `with_offsets` says so.
pub(crate) fn same(
    what: &str,
    partition: i32,
    expected: &Log,
    found: &Log,
    with_offsets: bool,
) -> Result<()> {
    let mut found_records = found.iter();
    for (number, (offset, digest)) in expected.iter().enumerate() {
        let Some((found_offset, found_digest)) = found_records.next() else {
            anyhow::bail!(
                "{what}, partition {partition}: {} records where {} are expected; the first that is missing is that of offset {offset}",
                found.len(),
                expected.len()
            );
        };
        let moved = with_offsets && found_offset != offset;
        if digest == found_digest && !moved {
            continue;
        }
        let elsewhere = found
            .iter()
            .filter(|(_, other)| *other == digest)
            .map(|(offset, _)| *offset)
            .collect::<Vec<_>>();
        anyhow::bail!(
            "{what}, partition {partition}: record number {number} is that of offset {offset}, and there is another one at {found_offset}; \
             the expected one lies at {elsewhere:?}"
        );
    }
    if let Some((offset, digest)) = found_records.next() {
        let twice = expected.values().any(|other| other == digest);
        anyhow::bail!(
            "{what}, partition {partition}: {} records where {} are expected; the first that is too many is at {offset} and is {}",
            found.len(),
            expected.len(),
            if twice { "there twice" } else { "unknown" }
        );
    }
    Ok(())
}

/// What a writer sent and what of it was acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Acknowledged records at their offsets.
    pub(crate) acknowledged: Logs,
    /// Everything that the writer ever sent, acknowledged or not. No record is sent twice.
    pub(crate) sent: HashSet<Digest>,
    /// Up to which offset records were deleted at the source.
    pub(crate) deleted: BTreeMap<i32, i64>,
}

impl Ledger {
    /// Holds the source's log against what was acknowledged: what the broker promised must be there.
    pub(crate) fn check_source(&self, source: &Logs) -> Result<()> {
        let nothing = Log::new();
        for (partition, acknowledged) in &self.acknowledged {
            let deleted = self.deleted.get(partition).copied().unwrap_or(0);
            let source = source.get(partition).unwrap_or(&nothing);
            for (offset, digest) in acknowledged.range(deleted..) {
                ensure!(
                    source.get(offset) == Some(digest),
                    "the source lost what it acknowledged: partition {partition}, offset {offset}"
                );
            }
        }
        let mut seen = HashSet::new();
        for (partition, log) in source {
            for (offset, digest) in log {
                let twice = self.sent.contains(digest) && !seen.insert(digest);
                ensure!(
                    !twice,
                    "the source has a record twice: partition {partition}, offset {offset}"
                );
            }
        }
        Ok(())
    }

    /// Holds an archive's partition against the source. Below what was deleted at the source it may have more than the source, and nothing else than
    /// was there.
    pub(crate) fn check_archive(&self, partition: i32, source: &Log, archive: &Log) -> Result<()> {
        let deleted = self.deleted.get(&partition).copied().unwrap_or(0);
        let from = |log: &Log| -> Log {
            log.range(deleted..)
                .map(|(offset, digest)| (*offset, *digest))
                .collect()
        };
        same("archive", partition, &from(source), &from(archive), true)?;
        let nothing = Log::new();
        let acknowledged = self.acknowledged.get(&partition).unwrap_or(&nothing);
        for (offset, digest) in archive.range(..deleted) {
            let known = acknowledged.get(offset);
            ensure!(
                known == Some(digest) || known.is_none(),
                "archive, partition {partition}: offset {offset} is not what was acknowledged there"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(offsets: &[(i64, u8)]) -> Log {
        offsets
            .iter()
            .map(|(offset, digest)| (*offset, [*digest; 16]))
            .collect()
    }

    #[test]
    fn holes_duplicates_and_strangers_are_told() {
        let expected = log(&[(0, 1), (1, 2), (5, 3)]);
        let check = |found: &[(i64, u8)], with_offsets| {
            same("target", 0, &expected, &log(found), with_offsets)
                .map_err(|error| error.to_string())
        };
        assert_eq!(check(&[(0, 1), (1, 2), (2, 3)], false), Ok(()));
        assert!(check(&[(0, 1), (1, 2), (2, 3)], true).is_err());
        assert!(
            check(&[(0, 1), (1, 2)], false)
                .unwrap_err()
                .contains("missing")
        );
        assert!(check(&[(0, 1), (1, 3)], false).is_err());
        let twice = check(&[(0, 1), (1, 2), (2, 3), (3, 2)], false);
        assert!(twice.unwrap_err().contains("there twice"));
        let unknown = check(&[(0, 1), (1, 2), (2, 3), (3, 9)], false);
        assert!(unknown.unwrap_err().contains("unknown"));
    }
}
