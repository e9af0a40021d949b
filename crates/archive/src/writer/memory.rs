//! An open segment in memory, for object stores: chunks that grow with the segment, so that a slow partition
//! holds little and a fast one copies nothing again.

use bytes::Bytes;

const SMALLEST_CHUNK: usize = 4 << 10;
const LARGEST_CHUNK: usize = 1 << 20;

/// Bytes in the order in which they were appended.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    full: Vec<Bytes>,
    full_bytes: usize,
    current: Vec<u8>,
}

impl Chunks {
    pub(crate) fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.current.capacity() - self.current.len();
            if room == 0 {
                self.next_chunk();
                continue;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.current.extend_from_slice(now);
            bytes = later;
        }
    }

    fn next_chunk(&mut self) {
        self.finish_current();
        let capacity = self.full_bytes.clamp(SMALLEST_CHUNK, LARGEST_CHUNK);
        self.current = Vec::with_capacity(capacity);
    }

    fn finish_current(&mut self) {
        if self.current.is_empty() {
            return;
        }
        let chunk = std::mem::take(&mut self.current);
        self.full_bytes += chunk.len();
        self.full.push(chunk.into());
    }

    /// Bytes of memory held.
    pub(crate) fn held_bytes(&self) -> usize {
        self.full_bytes + self.current.capacity() + self.full.capacity() * size_of::<Bytes>()
    }

    pub(crate) fn into_pieces(mut self) -> Vec<Bytes> {
        self.finish_current();
        self.full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_keep_order_and_waste_little() {
        let mut chunks = Chunks::default();
        assert_eq!(chunks.held_bytes(), 0);
        let mut expected = Vec::new();
        for (number, length) in [1usize, 100, 5000, 3 << 20, 7].into_iter().enumerate() {
            let run = vec![number as u8; length];
            chunks.append(&run);
            expected.extend(run);
            assert!(chunks.held_bytes() <= 2 * expected.len() + SMALLEST_CHUNK + 4096);
        }
        assert_eq!(chunks.into_pieces().concat(), expected);
    }
}
