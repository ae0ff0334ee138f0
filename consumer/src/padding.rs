//! Padding that hides a content's exact length: content, one 0x80, then zeros up to the Padmé length of at least 256.
//!
//! Pure. The same law as the business's side keeps; the two rooms share its vectors, not its code.

use zeroize::Zeroizing;

use crate::{ConsumerError, SignalFault};

/// Bytes of content that one message may carry: 64 KiB.
pub const MAX_CONTENT_LEN: usize = 64 * 1024;

const LEAST: usize = 256;
const MARK: u8 = 0x80;

/// Pads `content`.
///
/// # Errors
/// When it is longer than [`MAX_CONTENT_LEN`].
pub fn pad(content: &[u8]) -> Result<Zeroizing<Vec<u8>>, ConsumerError> {
    if content.len() > MAX_CONTENT_LEN {
        return Err(ConsumerError::Malformed("a content is at most 64 KiB"));
    }
    let length = padded_len(content.len());
    let mut padded = Zeroizing::new(Vec::with_capacity(length));
    padded.extend_from_slice(content);
    padded.push(MARK);
    padded.resize(length, 0);
    Ok(padded)
}

/// The content under its padding.
///
/// # Errors
/// When this is not exactly what [`pad`] makes.
pub fn unpad(padded: &[u8]) -> Result<&[u8], SignalFault> {
    let mark = padded
        .iter()
        .rposition(|byte| *byte != 0)
        .filter(|mark| padded[*mark] == MARK && *mark <= MAX_CONTENT_LEN)
        .ok_or(SignalFault::Frame)?;
    if padded_len(mark) == padded.len() {
        Ok(&padded[..mark])
    } else {
        Err(SignalFault::Frame)
    }
}

/// Padmé (PURBs, PoPETs 2019, section 4) of content and mark together, at least 256: with E = ⌊log2 L⌋ and
/// S = ⌊log2 E⌋ + 1, the low E − S bits are rounded up to zero.
const fn padded_len(content: usize) -> usize {
    let length = if content + 1 < LEAST {
        LEAST
    } else {
        content + 1
    };
    let exponent = length.ilog2();
    let low = (1 << (exponent - exponent.ilog2() - 1)) - 1;
    (length + low) & !low
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_are_those_that_the_business_makes() {
        let lengths = [
            (0, 256),
            (255, 256),
            (256, 272),
            (271, 272),
            (272, 288),
            (511, 512),
            (512, 544),
            (1000, 1024),
            (MAX_CONTENT_LEN, 67_584),
        ];
        for (content, padded) in lengths {
            assert_eq!(pad(&vec![7; content]).unwrap().len(), padded, "{content}");
        }
        assert!(pad(&vec![7; MAX_CONTENT_LEN + 1]).is_err());
    }

    #[test]
    fn padding_other_than_ours_is_refused() {
        let mut longer_than_needed = [0; 272];
        longer_than_needed[3] = MARK;
        let mut no_mark = [0; 256];
        no_mark[255] = 1;
        for padded in [
            &longer_than_needed[..],
            &no_mark,
            &[0; 256],
            &[MARK; 255],
            &[MARK],
            &[],
        ] {
            assert_eq!(unpad(padded), Err(SignalFault::Frame));
        }
    }

    proptest! {
        #[test]
        fn unpad_undoes_pad(mut content in prop::collection::vec(any::<u8>(), 0..3000), zeros in 0usize..300) {
            content.resize(content.len() + zeros, 0);
            let padded = pad(&content).unwrap();
            prop_assert_eq!(unpad(&padded).unwrap(), &content[..]);
        }
    }
}
