//! Zstandard frames.

use zstd::zstd_safe::zstd_sys::{ZSTD_EndDirective, ZSTD_ErrorCode};
use zstd::zstd_safe::{
    CCtx, CParameter, DCtx, ErrorCode, InBuffer, OutBuffer, ResetDirective, compress_bound,
    get_error_name, is_error_kind,
};

use super::{CodecError, NoSuchLevel};
use crate::decode::Buffer;

/// A context that is made when it is first needed.
#[derive(Default)]
pub(super) struct Decompressor {
    context: Option<DCtx<'static>>,
}

impl Decompressor {
    pub(super) fn decompress(
        &mut self,
        payload: &[u8],
        out: &mut Buffer,
    ) -> Result<usize, CodecError> {
        let context = self.context.get_or_insert_with(DCtx::create);
        // Java's frames do not tell their size, and what a frame tells is not to be trusted. So try with what is there, and
        // double: this beats streaming, which copies through a window, and the buffer soon has the size it needs.
        let mut wanted = payload.len().saturating_mul(4).max(out.bytes().len());
        loop {
            if out.grow_to(wanted).is_err() {
                out.grow_to_limit();
            }
            match context.decompress(out.bytes(), payload) {
                Ok(len) => return Ok(len),
                Err(code) if is_error_kind(code, ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall) => {
                    if out.is_at_limit() {
                        return Err(CodecError::TooLarge);
                    }
                    wanted = out.bytes().len().saturating_mul(2);
                }
                Err(code) => return Err(CodecError::damaged(get_error_name(code))),
            }
        }
    }
}

/// A context that is made when it is first needed.
#[derive(Default)]
pub(super) struct Compressor {
    context: Option<CCtx<'static>>,
}

impl Compressor {
    pub(super) fn compress(
        &mut self,
        level: Option<i32>,
        records: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), NoSuchLevel> {
        let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
        if !zstd::compression_level_range().contains(&level) {
            return Err(NoSuchLevel("zstd has levels -131072 to 22"));
        }
        let context = self.context.get_or_insert_with(CCtx::create);
        compress_frame(context, level, records, out)
            .unwrap_or_else(|code| panic!("zstd fails with enough room: {}", get_error_name(code)));
        Ok(())
    }
}

fn compress_frame(
    context: &mut CCtx<'_>,
    level: i32,
    records: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ErrorCode> {
    context.reset(ResetDirective::SessionOnly)?;
    context.set_parameter(CParameter::CompressionLevel(level))?;
    let start = out.len();
    out.reserve(compress_bound(records.len()));
    let mut input = InBuffer::around(records);
    // The streaming call, because it is the one that appends. With this much room it compresses in one go.
    let remaining = context.compress_stream2(
        &mut OutBuffer::around_pos(out, start),
        &mut input,
        ZSTD_EndDirective::ZSTD_e_end,
    )?;
    debug_assert_eq!(remaining, 0);
    Ok(())
}

pub(super) fn bound(len: usize) -> usize {
    compress_bound(len)
}
