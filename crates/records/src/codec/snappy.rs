//! Snappy, which other clients write as one raw block and Java in the framing of `org.xerial.snappy`: a header
//! of 16 bytes, then blocks of their own, each behind its length (big endian).

use super::CodecError;
use crate::decode::Buffer;

/// What a stream of snappy-java begins with, before two version numbers.
const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const FRAME_HEADER_LEN: usize = 16;
/// The versions that snappy-java writes: its format's, and the oldest one that can read it.
const VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
/// How many bytes Kafka's client puts into one block.
const BLOCK_SIZE: usize = 32 << 10;

pub(super) fn decompress(payload: &[u8], out: &mut Buffer) -> Result<usize, CodecError> {
    if !payload.starts_with(&MAGIC) {
        return decompress_block(payload, out, 0);
    }
    let mut filled = 0;
    let mut rest = payload;
    while !rest.is_empty() {
        // Streams may follow each other, each with its header.
        if rest.starts_with(&MAGIC) {
            rest = rest
                .get(FRAME_HEADER_LEN..)
                .ok_or_else(|| CodecError::damaged("the frame header is cut off"))?;
            continue;
        }
        let Some((len, after_len)) = rest.split_first_chunk() else {
            return Err(CodecError::damaged("the length of a block is cut off"));
        };
        let block = usize::try_from(i32::from_be_bytes(*len))
            .ok()
            .and_then(|len| after_len.split_at_checked(len));
        let Some((block, following)) = block else {
            return Err(CodecError::damaged("a block is longer than the data"));
        };
        filled = decompress_block(block, out, filled)?;
        rest = following;
    }
    Ok(filled)
}

/// Decompresses one raw block behind the `filled` first bytes of `out`; tells how many there are then.
fn decompress_block(block: &[u8], out: &mut Buffer, filled: usize) -> Result<usize, CodecError> {
    let damaged = |error: snap::Error| CodecError::damaged(error.to_string());
    let len = snap::raw::decompress_len(block).map_err(damaged)?;
    // Three bytes make 64 at most: a block that promises more is not believed, so that it allocates nothing.
    if len / 64 > block.len() / 3 + 1 {
        return Err(CodecError::damaged(
            "a block promises more bytes than it can hold",
        ));
    }
    let end = filled + len;
    out.grow_to(end)?;
    if !block.is_empty() {
        snap::raw::Decoder::new()
            .decompress(block, &mut out.bytes()[filled..end])
            .map_err(damaged)?;
    }
    Ok(end)
}

/// A context that is made when it is first needed.
#[derive(Default)]
pub(super) struct Compressor {
    encoder: Option<snap::raw::Encoder>,
}

impl Compressor {
    pub(super) fn compress(&mut self, records: &[u8], out: &mut Vec<u8>) {
        let encoder = self.encoder.get_or_insert_with(snap::raw::Encoder::new);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSIONS);
        for block in records.chunks(BLOCK_SIZE) {
            let start = out.len();
            let data_start = start + 4;
            out.resize(data_start + snap::raw::max_compress_len(block.len()), 0);
            let len = encoder
                .compress(block, &mut out[data_start..])
                .expect("the room is what the codec may need");
            out[start..data_start].copy_from_slice(&(len as u32).to_be_bytes());
            out.truncate(data_start + len);
        }
    }
}

pub(super) fn bound(len: usize) -> usize {
    let whole = len / BLOCK_SIZE;
    FRAME_HEADER_LEN
        + whole * (4 + snap::raw::max_compress_len(BLOCK_SIZE))
        + 4
        + snap::raw::max_compress_len(len % BLOCK_SIZE)
}
