//! One request on its way out: its head and, behind it, bytes that are sent from where they lie.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// Where a request has its correlation id: after its size, API key and version.
const CORRELATION_AT: usize = 8;

/// A request, with its size before it. Sent by vectored writes, so that the records of a Produce request are not copied.
#[derive(Debug)]
pub(crate) struct Frame {
    pieces: VecDeque<Bytes>,
    remaining: usize,
}

impl Frame {
    /// `head` begins with four bytes for the size and a request header whose correlation id is yet to be filled in.
    pub(crate) fn new(mut head: BytesMut, correlation_id: i32, rest: Vec<Bytes>) -> Frame {
        let remaining = head.len() + rest.iter().map(Bytes::len).sum::<usize>();
        let size = (remaining - size_of::<u32>()) as u32;
        head[..size_of::<u32>()].copy_from_slice(&size.to_be_bytes());
        head[CORRELATION_AT..CORRELATION_AT + size_of::<i32>()]
            .copy_from_slice(&correlation_id.to_be_bytes());
        let mut pieces = VecDeque::with_capacity(rest.len() + 1);
        pieces.push_back(head.freeze());
        pieces.extend(rest.into_iter().filter(|piece| !piece.is_empty()));
        Frame { pieces, remaining }
    }
}

impl Buf for Frame {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let count = slices.len().min(self.pieces.len());
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
        }
        count
    }

    fn advance(&mut self, mut count: usize) {
        self.remaining -= count;
        while count > 0 {
            let piece = self
                .pieces
                .front_mut()
                .expect("no more is advanced than remains");
            if piece.len() > count {
                piece.advance(count);
                return;
            }
            count -= piece.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_read_as_one_run_of_bytes() {
        let head = BytesMut::from(&[0_u8; 14][..]);
        let rest = vec![
            Bytes::from_static(b"abc"),
            Bytes::new(),
            Bytes::from_static(b"defg"),
        ];
        let mut frame = Frame::new(head, 0x0102_0304, rest);
        let mut slices = [IoSlice::new(&[]); 8];
        assert_eq!(frame.chunks_vectored(&mut slices), 3);
        assert_eq!(frame.remaining(), 21);
        frame.advance(12);
        frame.advance(3);
        assert_eq!(frame.chunk(), b"bc");
        assert_eq!(frame.copy_to_bytes(6), &b"bcdefg"[..]);
        assert!(!frame.has_remaining() && frame.chunk().is_empty());
    }

    #[test]
    fn size_and_correlation_id_are_filled_in() {
        let head = BytesMut::from(&[0_u8; 12][..]);
        let mut frame = Frame::new(head, 7, vec![Bytes::from_static(b"abc")]);
        let bytes = frame.copy_to_bytes(15);
        assert_eq!(bytes, &b"\0\0\0\x0b\0\0\0\0\0\0\0\x07abc"[..]);
    }
}
