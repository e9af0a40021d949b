//! LZ4 frames (<https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>).
//!
//! The frame is taken apart here rather than by `lz4_flex` so that its blocks are decompressed straight into the buffer,
//! without memory of their own for each batch. The frame's own checksums are not looked at: the batch's CRC covers the same bytes.

use lz4_flex::block::{
    CompressTable, DecompressError, compress_into_with_table, decompress_into,
    decompress_into_with_dict, get_maximum_output_size,
};

use super::CodecError;
use crate::decode::Buffer;

const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();

/// The bits of a frame's first descriptor byte.
const VERSION_MASK: u8 = 0b1100_0000;
const VERSION: u8 = 0b0100_0000;
const INDEPENDENT: u8 = 1 << 5;
const BLOCK_CHECKSUMS: u8 = 1 << 4;
const CONTENT_SIZE: u8 = 1 << 3;
const DICTIONARY: u8 = 1;
/// The bit of a block's length which says that the block is stored as it is.
const STORED: u32 = 1 << 31;

/// How far back a block that depends on those before it may reach.
const WINDOW: usize = 64 << 10;

/// What Kafka's client writes: the magic number, independent blocks without checksums, of at most 64 KiB, and the
/// descriptor's checksum, which is always the same as the descriptor is.
const FRAME_HEADER: [u8; 7] = [
    MAGIC[0],
    MAGIC[1],
    MAGIC[2],
    MAGIC[3],
    VERSION | INDEPENDENT,
    0x40,
    0x82,
];
const BLOCK_SIZE: usize = 64 << 10;
const END_MARK: [u8; 4] = [0; 4];

pub(super) fn decompress(payload: &[u8], out: &mut Buffer) -> Result<usize, CodecError> {
    let cut_off = || CodecError::damaged("the frame is cut off");
    let (magic, rest) = payload.split_first_chunk().ok_or_else(cut_off)?;
    if *magic != MAGIC {
        return Err(CodecError::damaged("it does not begin with an lz4 frame"));
    }
    let (&[flags, sizes], mut rest) = rest.split_first_chunk().ok_or_else(cut_off)?;
    if flags & VERSION_MASK != VERSION {
        return Err(CodecError::damaged("the frame has an unknown version"));
    }
    if flags & DICTIONARY != 0 {
        return Err(CodecError::damaged("the frame needs a dictionary"));
    }
    let block_size = match sizes >> 4 & 0b111 {
        4 => 64 << 10,
        5 => 256 << 10,
        6 => 1 << 20,
        7 => 4 << 20,
        _ => return Err(CodecError::damaged("the frame has an unknown block size")),
    };
    let content_size_len = if flags & CONTENT_SIZE != 0 { 8 } else { 0 };
    let block_checksum_len = if flags & BLOCK_CHECKSUMS != 0 { 4 } else { 0 };
    let descriptor_checksum_len = 1;
    rest = rest
        .get(content_size_len + descriptor_checksum_len..)
        .ok_or_else(cut_off)?;

    let mut filled = 0;
    loop {
        let (len, after_len) = rest.split_first_chunk().ok_or_else(cut_off)?;
        // What may follow the end mark is the checksum of the content. Like Kafka's reader, look no further.
        if *len == END_MARK {
            return Ok(filled);
        }
        let len = u32::from_le_bytes(*len);
        let (block, following) = after_len
            .split_at_checked((len & !STORED) as usize)
            .ok_or_else(cut_off)?;
        rest = following.get(block_checksum_len..).ok_or_else(cut_off)?;
        filled = if len & STORED != 0 {
            append_stored(block, block_size, out, filled)?
        } else {
            let dictionary_len = if flags & INDEPENDENT != 0 {
                0
            } else {
                filled.min(WINDOW)
            };
            decompress_block(block, block_size, dictionary_len, out, filled)?
        };
    }
}

fn append_stored(
    block: &[u8],
    block_size: usize,
    out: &mut Buffer,
    filled: usize,
) -> Result<usize, CodecError> {
    if block.len() > block_size {
        return Err(CodecError::damaged(
            "a block is larger than the frame allows",
        ));
    }
    let end = filled + block.len();
    out.grow_to(end)?;
    out.bytes()[filled..end].copy_from_slice(block);
    Ok(end)
}

fn decompress_block(
    block: &[u8],
    block_size: usize,
    dictionary_len: usize,
    out: &mut Buffer,
    filled: usize,
) -> Result<usize, CodecError> {
    // One byte makes 255 at most, besides what the first few do.
    let wanted = filled + block_size.min(block.len().saturating_mul(255) + 64);
    // Near the limit the block may still fit, because most are not as large as they may be.
    let short_of_room = match out.grow_to(wanted) {
        Ok(()) => false,
        Err(_) => {
            out.grow_to_limit();
            true
        }
    };
    let end = wanted.min(out.bytes().len());
    let (before, room) = out.bytes()[..end].split_at_mut(filled);
    let decompressed = if dictionary_len == 0 {
        decompress_into(block, room)
    } else {
        decompress_into_with_dict(block, room, &before[filled - dictionary_len..])
    };
    match decompressed {
        Ok(len) => Ok(filled + len),
        Err(DecompressError::OutputTooSmall { .. }) if short_of_room => Err(CodecError::TooLarge),
        Err(error) => Err(CodecError::damaged(error.to_string())),
    }
}

/// The table of the compressor, kept from batch to batch.
#[derive(Default)]
pub(super) struct Compressor {
    table: Option<CompressTable>,
}

impl Compressor {
    pub(super) fn compress(&mut self, records: &[u8], out: &mut Vec<u8>) {
        let table = self.table.get_or_insert_with(CompressTable::large);
        out.extend_from_slice(&FRAME_HEADER);
        for block in records.chunks(BLOCK_SIZE) {
            let start = out.len();
            let data_start = start + 4;
            out.resize(data_start + get_maximum_output_size(block.len()), 0);
            let len = compress_into_with_table(block, &mut out[data_start..], table)
                .expect("the room is what the codec may need");
            if len < block.len() {
                out[start..data_start].copy_from_slice(&(len as u32).to_le_bytes());
                out.truncate(data_start + len);
            } else {
                out[start..data_start]
                    .copy_from_slice(&(block.len() as u32 | STORED).to_le_bytes());
                out.truncate(data_start);
                out.extend_from_slice(block);
            }
        }
        out.extend_from_slice(&END_MARK);
    }
}

pub(super) fn bound(len: usize) -> usize {
    FRAME_HEADER.len() + 4 * (len / BLOCK_SIZE + 1) + len + END_MARK.len()
}
