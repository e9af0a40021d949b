//! `payload-schema-mapping` and `key-schema-mapping`

use std::collections::BTreeMap;

/// Which part of a record is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordPart {
    /// The value.
    Payload,
    /// The key.
    Key,
}

/// The ids that schemas have in the source's registry, with those that they have in the target's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaMapping {
    /// Where the id stands.
    pub part: RecordPart,
    /// Source's id to target's id.
    pub ids: BTreeMap<u32, u32>,
}

/// What the bytes begin with that a schema id follows (Confluent's wire format).
const MAGIC: u8 = 0;

impl SchemaMapping {
    /// Replaces the id in bytes that are framed: a zero, and an id of four bytes. Everything else stays, as does an id that is not mapped.
    pub(super) fn apply(&self, bytes: Option<&mut [u8]>) {
        let Some([MAGIC, id @ ..]) = bytes else {
            return;
        };
        let Some(id) = id.first_chunk_mut::<4>() else {
            return;
        };
        if let Some(mapped) = self.ids.get(&u32::from_be_bytes(*id)) {
            *id = mapped.to_be_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: Option<&[u8]>, after: Option<&[u8]>) {
        let ids = BTreeMap::from([(1, 100), (0xffff_ffff, 2)]);
        let part = RecordPart::Payload;
        let mut bytes = before.map(<[u8]>::to_vec);
        SchemaMapping { part, ids }.apply(bytes.as_deref_mut());
        assert_eq!(bytes.as_deref(), after);
    }

    #[test]
    fn only_framed_and_mapped_ids_change() {
        check(Some(b"\0\0\0\0\x01rest"), Some(b"\0\0\0\0\x64rest"));
        check(Some(b"\0\xff\xff\xff\xff"), Some(b"\0\0\0\0\x02"));
        for same in [
            &b""[..],
            b"\0",
            b"\0\0\0\x01",
            b"\x01\0\0\0\x01",
            b"\0\0\0\0\x03",
        ] {
            check(Some(same), Some(same));
        }
        check(None, None);
    }
}
