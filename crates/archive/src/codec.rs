//! Outer compression: what a segment's file is wrapped in, besides what producers did to the batches.
//!
//! A compressed segment is a sequence of independent frames (zstd frames, gzip members) that each hold whole
//! batches. Both formats define the concatenation of frames as the concatenation of their contents, so the
//! plain tools `zstd -d` and `gunzip` turn the file into a `.log`, and a reader can begin at any frame.

use std::io::{Read as _, Write as _};

use serde::{Deserialize, Serialize};

/// How a segment's file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Batches as they are: the file is a Kafka log segment.
    None,
    /// gzip members (RFC 1952).
    Gzip,
    /// zstd frames (RFC 8878).
    Zstd,
}

impl Codec {
    /// What a segment's name ends in.
    pub fn extension(self) -> &'static str {
        match self {
            Self::None => ".log",
            Self::Gzip => ".log.gz",
            Self::Zstd => ".log.zst",
        }
    }

    /// The name as written in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// Compresses `batches` as one frame, given as consecutive pieces; `level` is the codec's own scale
    /// (its default if absent).
    pub(crate) fn compress(
        self,
        level: Option<i32>,
        batches: &[&[u8]],
    ) -> std::io::Result<Vec<u8>> {
        let total: usize = batches.iter().map(|piece| piece.len()).sum();
        let out = Vec::with_capacity(total / 2);
        match self {
            Self::None => Ok(batches.concat()),
            Self::Gzip => {
                let level = level.map_or_else(flate2::Compression::default, |level| {
                    flate2::Compression::new(level.clamp(0, 9) as u32)
                });
                let mut encoder = flate2::write::GzEncoder::new(out, level);
                for piece in batches {
                    encoder.write_all(piece)?;
                }
                encoder.finish()
            }
            Self::Zstd => {
                let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
                let mut encoder = zstd::Encoder::new(out, level)?;
                // Lets `zstd -l` and readers know the size, and readers allocate once.
                encoder.set_pledged_src_size(Some(total as u64))?;
                encoder.include_contentsize(true)?;
                for piece in batches {
                    encoder.write_all(piece)?;
                }
                encoder.finish()
            }
        }
    }

    /// Decompresses frames that hold exactly `size` bytes of batches.
    pub(crate) fn decompress(self, frames: &[u8], size: usize) -> std::io::Result<Vec<u8>> {
        // A damaged frame must not make more of itself than was written: read one byte beyond, no more.
        let limit = size as u64 + 1;
        let mut out = Vec::with_capacity(size + 1);
        match self {
            Self::None => out.extend_from_slice(frames),
            Self::Gzip => {
                flate2::read::MultiGzDecoder::new(frames)
                    .take(limit)
                    .read_to_end(&mut out)?;
            }
            Self::Zstd => {
                zstd::Decoder::new(frames)?
                    .take(limit)
                    .read_to_end(&mut out)?;
            }
        }
        if out.len() == size {
            return Ok(out);
        }
        Err(std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            format!("frames of {size} bytes hold {} or more", out.len()),
        ))
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_concatenate() {
        for codec in [Codec::None, Codec::Gzip, Codec::Zstd] {
            let mut file = codec.compress(None, &[b"one", b", "]).unwrap();
            file.extend(codec.compress(Some(1), &[b"two"]).unwrap());
            assert_eq!(codec.decompress(&file, 8).unwrap(), b"one, two", "{codec}");
            assert!(codec.decompress(&file, 7).is_err(), "{codec}");
            assert!(codec.decompress(&file, 9).is_err(), "{codec}");
        }
    }
}
