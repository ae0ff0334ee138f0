//! Padding that hides a content's exact length: `content ‖ 0x80 ‖ zeros` up to a Padmé length of at least 256.
//!
//! Invariant: a [`PaddedContent`] has one of the lengths that padding can produce. Only the two ends unpad; the vault
//! passes padded bytes on without looking inside.

use std::fmt;

use zeroize::Zeroizing;

use crate::EnvelopeError;

/// Bytes of content that one message may carry: 64 KiB.
pub const MAX_CONTENT_LEN: usize = 64 * 1024;
/// No padded content is shorter.
const MIN_PADDED_LEN: usize = 256;
const MAX_PADDED_LEN: usize = padme(MAX_CONTENT_LEN + 1);
const MARK: u8 = 0x80;

/// What a business or a consumer wrote. Wiped on drop; never prints.
pub struct Content(Zeroizing<Vec<u8>>);

impl Content {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, still wiped on drop.
    #[must_use]
    pub fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

/// Content with its padding. Wiped on drop; never prints.
pub struct PaddedContent(Zeroizing<Vec<u8>>);

impl PaddedContent {
    /// Takes bytes that were padded elsewhere. Looks at the length only.
    ///
    /// # Errors
    /// [`EnvelopeError::BadPadding`] for a length that padding never gives.
    pub fn from_bytes(bytes: Zeroizing<Vec<u8>>) -> Result<Self, EnvelopeError> {
        let len = bytes.len();
        if (MIN_PADDED_LEN..=MAX_PADDED_LEN).contains(&len) && padme(len) == len {
            Ok(Self(bytes))
        } else {
            Err(EnvelopeError::BadPadding)
        }
    }

    /// The padded bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The padded bytes, still wiped on drop.
    #[must_use]
    pub fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

/// Pads `content`.
///
/// # Errors
/// [`EnvelopeError::ContentTooLong`] past [`MAX_CONTENT_LEN`].
pub fn pad(content: &[u8]) -> Result<PaddedContent, EnvelopeError> {
    let len = padded_len(content.len())?;
    // Sized once: growing would leave a copy of the content in freed memory.
    let mut padded = Zeroizing::new(Vec::with_capacity(len));
    padded.extend_from_slice(content);
    padded.push(MARK);
    padded.resize(len, 0);
    Ok(PaddedContent(padded))
}

/// Takes the padding off again: exactly what [`pad`] puts on, nothing else.
///
/// # Errors
/// [`EnvelopeError::BadPadding`].
pub fn unpad(padded: &PaddedContent) -> Result<Content, EnvelopeError> {
    let bytes = padded.as_bytes();
    let mark = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .ok_or(EnvelopeError::BadPadding)?;
    let content = &bytes[..mark];
    if bytes[mark] != MARK || padded_len(mark) != Ok(bytes.len()) {
        return Err(EnvelopeError::BadPadding);
    }
    Ok(Content(Zeroizing::new(content.to_vec())))
}

/// The length to which `content_len` bytes are padded.
///
/// # Errors
/// [`EnvelopeError::ContentTooLong`] past [`MAX_CONTENT_LEN`].
pub fn padded_len(content_len: usize) -> Result<usize, EnvelopeError> {
    if content_len > MAX_CONTENT_LEN {
        return Err(EnvelopeError::ContentTooLong);
    }
    Ok(padme((content_len + 1).max(MIN_PADDED_LEN)))
}

/// Padmé (Nikitin et al., PURBs, PoPETs 2019, 4): keeps the top ⌊log2 log2 L⌋ + 1 bits below the first, rounds up the rest.
const fn padme(len: usize) -> usize {
    let exponent = len.ilog2();
    let kept = exponent.ilog2() + 1;
    let mask = (1 << (exponent - kept)) - 1;
    (len + mask) & !mask
}

macro_rules! redacted {
    ($($name:ident),+) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    )+};
}
redacted!(Content, PaddedContent);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn unpad_raw(bytes: &[u8]) -> Result<Content, EnvelopeError> {
        unpad(&PaddedContent::from_bytes(Zeroizing::new(bytes.to_vec()))?)
    }

    #[test]
    fn lengths_are_those_of_padme() {
        let lengths = [
            (0, 256),
            (255, 256),
            (256, 272),
            (271, 272),
            (272, 288),
            (511, 512),
            (512, 544),
            (1000, 1024),
        ];
        for (content, padded) in lengths {
            assert_eq!(padded_len(content), Ok(padded), "{content}");
        }
        assert_eq!(padded_len(MAX_CONTENT_LEN), Ok(67_584));
        assert_eq!(
            padded_len(MAX_CONTENT_LEN + 1),
            Err(EnvelopeError::ContentTooLong)
        );
    }

    #[test]
    fn padding_other_than_ours_is_refused() {
        let mut no_mark = [0; 256];
        assert!(unpad_raw(&no_mark).is_err());
        no_mark[255] = 1;
        assert!(unpad_raw(&no_mark).is_err());
        let mut longer_than_needed = [0; 272];
        longer_than_needed[3] = MARK;
        assert_eq!(
            unpad_raw(&longer_than_needed).err(),
            Some(EnvelopeError::BadPadding)
        );
        for len in [0, 1, 255, 257, 271, 67_585, 69_632] {
            assert!(
                PaddedContent::from_bytes(Zeroizing::new(vec![MARK; len])).is_err(),
                "{len}"
            );
        }
    }

    proptest! {
        #[test]
        fn unpad_undoes_pad(mut content in prop::collection::vec(any::<u8>(), 0..3000), zeros in 0usize..300) {
            content.resize(content.len() + zeros, 0);
            let padded = pad(&content).unwrap();
            prop_assert_eq!(padded.as_bytes().len(), padded_len(content.len()).unwrap());
            let unpadded = unpad_raw(padded.as_bytes()).unwrap();
            prop_assert_eq!(unpadded.as_bytes(), &content[..]);
        }

        #[test]
        fn padding_costs_at_most_twelve_percent_and_is_a_fixed_point(len in 256usize..=MAX_CONTENT_LEN) {
            let padded = padme(len);
            prop_assert!(padded >= len && (padded - len) * 100 <= len * 12);
            prop_assert_eq!(padme(padded), padded);
        }
    }
}
