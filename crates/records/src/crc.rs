//! The CRC32C (Castagnoli) of batches.

/// The CRC32C of `bytes`.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// The CRC32C of some bytes after their beginning was replaced, known from what it was, without reading the rest.
///
/// `before` and `after` are the old and the new beginning (of equal length), `rest_len` is how many bytes follow it, `crc` is
/// the checksum of the old bytes. If that one was wrong, so is the new one: damage is not signed over.
pub(crate) fn crc32c_replaced(crc: u32, before: &[u8], after: &[u8], rest_len: usize) -> u32 {
    debug_assert_eq!(before.len(), after.len());
    // CRCs are linear: what the changed bits contribute is moved over the bytes that follow them.
    crc ^ moved(crc32c(before) ^ crc32c(after), rest_len)
}

/// Castagnoli's polynomial, reflected: the highest bit stands for x^0.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// x^(8 * 2^k) modulo the polynomial: what moves a contribution over 2^k bytes.
const MOVES: [u32; 32] = {
    let mut moves = [1 << (31 - 8); 32];
    let mut k = 1;
    while k < moves.len() {
        moves[k] = product(moves[k - 1], moves[k - 1]);
        k += 1;
    }
    moves
};

/// What `contribution` becomes when `len` bytes of zeros follow, that is times x^(8 * len). (`crc32c_combine` does
/// the same with matrices, which takes longer than reading a batch of 200 KB again.)
fn moved(mut contribution: u32, len: usize) -> u32 {
    debug_assert!(len <= u32::MAX as usize, "a batch is shorter than 2 GiB");
    for (k, by) in MOVES.iter().enumerate() {
        if len >> k & 1 == 1 {
            contribution = product(contribution, *by);
        }
    }
    contribution
}

/// The product of two polynomials modulo the polynomial.
const fn product(a: u32, b: u32) -> u32 {
    let (mut product, mut shifted, mut bit) = (0, b, 32);
    while bit > 0 {
        bit -= 1;
        // Without branches, for the bits are as good as random.
        product ^= shifted & (a >> bit & 1).wrapping_neg();
        shifted = (shifted >> 1) ^ (POLYNOMIAL & (shifted & 1).wrapping_neg());
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answer() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn replaced_beginning() {
        for rest_len in [0, 1, 7, 64, 1000, 70_000] {
            let before: Vec<u8> = (0..40).collect();
            let after: Vec<u8> = (0..40).map(|byte| byte * 3 + 1).collect();
            let rest: Vec<u8> = (0..rest_len)
                .map(|index| (index * 31 % 251) as u8)
                .collect();
            let old = crc32c(&[&before[..], &rest].concat());
            let new = crc32c(&[&after[..], &rest].concat());
            assert_eq!(
                crc32c_replaced(old, &before, &after, rest_len),
                new,
                "{rest_len}"
            );
            assert_ne!(
                crc32c_replaced(old ^ 1, &before, &after, rest_len),
                new,
                "{rest_len}"
            );
        }
    }
}
