//! The bytes of stored values: big-endian integers, and fields with a u32 length before them.
//!
//! Pure. Invariant: what [`Reader`] accepts ends exactly where it should.

use zeroize::Zeroizing;

use crate::StateError;

/// Writes values.
#[derive(Default)]
pub(super) struct Writer(pub(super) Zeroizing<Vec<u8>>);

impl Writer {
    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// A field with its length. Fields are far below 4 GiB: the relay's messages end at 4 MiB.
    pub(super) fn field(&mut self, bytes: &[u8]) {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.raw(bytes);
    }
}

/// Reads values.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

const SHORT: StateError = StateError::Damaged("a record does not read");

impl<'a> Reader<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(SHORT)?;
        self.0 = tail;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, StateError> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u32(&mut self) -> Result<u32, StateError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, StateError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(super) fn field(&mut self) -> Result<&'a [u8], StateError> {
        let length = usize::try_from(self.u32()?).map_err(|_| SHORT)?;
        let (head, tail) = self.0.split_at_checked(length).ok_or(SHORT)?;
        self.0 = tail;
        Ok(head)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, StateError> {
        std::str::from_utf8(self.field()?).map_err(|_| SHORT)
    }

    pub(super) fn parsed<T: std::str::FromStr>(&mut self) -> Result<T, StateError> {
        self.text()?.parse().map_err(|_| SHORT)
    }
}
