//! `FIELD(x)` = big-endian u16 length ‖ x, written and strictly read. Knows no format built of it.
//!
//! Invariant: a reader that is not finished exactly at the end of its bytes is an error.

use crate::EnvelopeError;

/// Bytes to come. `what` names the structure in errors.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    pub(crate) fn malformed(&self) -> EnvelopeError {
        EnvelopeError::Malformed(self.what)
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], EnvelopeError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(self.malformed())?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], EnvelopeError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(self.malformed())?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, EnvelopeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// The next `FIELD`.
    pub(crate) fn field(&mut self) -> Result<&'a [u8], EnvelopeError> {
        let len = u16::from_be_bytes(self.array()?);
        self.take(usize::from(len))
    }

    /// The next `FIELD` with a one-byte length.
    pub(crate) fn field8(&mut self) -> Result<&'a [u8], EnvelopeError> {
        let len = self.byte()?;
        self.take(usize::from(len))
    }

    /// The next `FIELD`, which must have `N` bytes.
    pub(crate) fn array_field<const N: usize>(&mut self) -> Result<[u8; N], EnvelopeError> {
        self.field()?.try_into().map_err(|_| self.malformed())
    }

    /// The next `FIELD`, which must hold a u64.
    pub(crate) fn u64_field(&mut self) -> Result<u64, EnvelopeError> {
        self.array_field().map(u64::from_be_bytes)
    }

    /// The next `FIELD`, which must be this domain.
    pub(crate) fn domain(&mut self, domain: &[u8]) -> Result<(), EnvelopeError> {
        if self.field()? == domain {
            Ok(())
        } else {
            Err(self.malformed())
        }
    }

    /// The next `FIELD`, which must be version 1.
    pub(crate) fn version(&mut self) -> Result<(), EnvelopeError> {
        match self.array_field()? {
            [1] => Ok(()),
            _ => Err(EnvelopeError::UnsupportedVersion),
        }
    }

    /// Everything that is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn finish(self) -> Result<(), EnvelopeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.malformed())
        }
    }
}

/// Appends `FIELD(bytes)`. What this crate writes has at most a few thousand bytes.
pub(crate) fn put_field(out: &mut Vec<u8>, bytes: &[u8]) {
    debug_assert!(bytes.len() <= usize::from(u16::MAX));
    #[allow(clippy::cast_possible_truncation)]
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Appends a field with a one-byte length; ids and phone numbers are far below 256 bytes.
pub(crate) fn put_field8(out: &mut Vec<u8>, bytes: &[u8]) {
    debug_assert!(bytes.len() <= usize::from(u8::MAX));
    #[allow(clippy::cast_possible_truncation)]
    out.push(bytes.len() as u8);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn fields_read_back_and_every_prefix_is_refused(fields in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..5)) {
            let mut bytes = Vec::new();
            for field in &fields {
                put_field(&mut bytes, field);
            }
            let read = |bytes: &[u8]| -> Result<Vec<Vec<u8>>, EnvelopeError> {
                let mut reader = Reader::new(bytes, "test");
                let read = fields.iter().map(|_| reader.field().map(<[u8]>::to_vec)).collect();
                reader.finish()?;
                read
            };
            prop_assert_eq!(read(&bytes).unwrap(), fields.clone());
            for end in 0..bytes.len() {
                prop_assert!(read(&bytes[..end]).is_err());
            }
            bytes.push(0);
            prop_assert!(read(&bytes).is_err());
        }
    }
}
