//! The zigzag varints of records (`org.apache.kafka.common.utils.ByteUtils`).

/// Takes a varint of at most five bytes off the front of `bytes`; `None` if it is cut off or longer.
#[inline]
pub(crate) fn take_varint(bytes: &mut &[u8]) -> Option<i32> {
    let raw = take_unsigned::<5>(bytes)? as u32;
    Some((raw >> 1) as i32 ^ -((raw & 1) as i32))
}

/// Takes a varint of at most ten bytes off the front of `bytes`; `None` if it is cut off or longer.
#[inline]
pub(crate) fn take_varlong(bytes: &mut &[u8]) -> Option<i64> {
    let raw = take_unsigned::<10>(bytes)?;
    Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

#[inline]
fn take_unsigned<const MAX_LEN: usize>(bytes: &mut &[u8]) -> Option<u64> {
    // Most varints of a record have one byte.
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        *bytes = rest;
        return Some(first.into());
    }
    let mut value = u64::from(first & 0x7f);
    for (index, &byte) in rest.iter().take(MAX_LEN - 1).enumerate() {
        // Like Kafka's reader, let bits fall off that the last byte has too many.
        value |= u64::from(byte & 0x7f) << (7 * (index + 1));
        if byte < 0x80 {
            *bytes = &rest[index + 1..];
            return Some(value);
        }
    }
    None
}

/// Appends `value` as a varint.
#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_varlong(out, value.into());
}

/// Appends `value` as a varint.
#[inline]
pub(crate) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// How many bytes `value` takes as a varint.
#[inline]
pub(crate) fn varint_len(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

#[inline]
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: i64, expect: &[u8]) {
        let mut written = Vec::new();
        put_varlong(&mut written, value);
        assert_eq!(written, expect);
        assert_eq!(varint_len(value), expect.len());
        let mut rest = expect;
        assert_eq!(take_varlong(&mut rest), Some(value));
        assert!(rest.is_empty());
        for cut in 0..expect.len() {
            assert_eq!(take_varlong(&mut &expect[..cut]), None);
        }
        if let Ok(narrow) = i32::try_from(value) {
            assert_eq!(take_varint(&mut &expect[..]), Some(narrow));
        }
    }

    #[test]
    fn known_forms() {
        check(0, &[0]);
        check(-1, &[1]);
        check(1, &[2]);
        check(63, &[126]);
        check(64, &[0x80, 1]);
        check(-64, &[127]);
        check(-65, &[0x81, 1]);
        check(i32::MAX.into(), &[0xfe, 0xff, 0xff, 0xff, 0x0f]);
        check(i32::MIN.into(), &[0xff, 0xff, 0xff, 0xff, 0x0f]);
        check(
            i64::MAX,
            &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        );
        check(
            i64::MIN,
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        );
    }

    #[test]
    fn too_long() {
        assert_eq!(
            take_varint(&mut &[0x80, 0x80, 0x80, 0x80, 0x80, 0][..]),
            None
        );
        assert_eq!(take_varlong(&mut &[0x80; 11][..]), None);
    }
}
