//! gzip: one member or several, as `java.util.zip.GZIPInputStream` reads them.

use std::io::{self, Read, Write};

use super::{CodecError, NoSuchLevel};
use crate::decode::Buffer;

pub(super) fn decompress(payload: &[u8], out: &mut Buffer) -> Result<usize, CodecError> {
    let mut decoder = flate2::bufread::MultiGzDecoder::new(payload);
    let damaged = |error: io::Error| CodecError::damaged(error.to_string());
    let mut filled = 0;
    loop {
        if filled == out.bytes().len() {
            if out.is_at_limit() {
                let ended = decoder.read(&mut [0]).map_err(damaged)? == 0;
                return if ended {
                    Ok(filled)
                } else {
                    Err(CodecError::TooLarge)
                };
            }
            // Text shrinks to a third or a quarter.
            if out
                .grow_to(filled + payload.len().saturating_mul(4))
                .is_err()
            {
                out.grow_to_limit();
            }
        }
        match decoder.read(&mut out.bytes()[filled..]).map_err(damaged)? {
            0 => return Ok(filled),
            len => filled += len,
        }
    }
}

pub(super) fn compress(
    level: Option<i32>,
    records: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), NoSuchLevel> {
    let level = match level {
        None => flate2::Compression::default(),
        Some(level @ 1..=9) => flate2::Compression::new(level as u32),
        Some(_) => return Err(NoSuchLevel("gzip has levels 1 to 9")),
    };
    let mut encoder = flate2::write::GzEncoder::new(out, level);
    encoder
        .write_all(records)
        .and_then(|()| encoder.try_finish())
        .expect("writing into memory does not fail");
    Ok(())
}

pub(super) fn bound(len: usize) -> usize {
    // Deflate falls back to stored blocks, of at least 16 KiB with five bytes each; 18 bytes are the member's.
    len + 5 * (len / (16 << 10) + 2) + 18
}
