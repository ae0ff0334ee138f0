//! The sealed bytes of a state file: a header, then records that only this file, at this place, can hold.
//!
//! Pure. A file is magic 8 ‖ file id 16 ‖ records. A record is length u32 ‖ check 12 ‖ nonce 12 ‖ AES-256-GCM ciphertext and
//! tag; `length` counts what stands after the check, which is a truncated HMAC-SHA256 over file id, sequence and length. Both
//! keys are HKDF-SHA256 of the key file, salted with the file id; the associated data is magic ‖ file id ‖ sequence.
//!
//! Invariant: record 0, the snapshot, must be whole, for its file was renamed into place after it was durable. Later records may
//! end in one that a crash cut short: it was never acted on and is dropped. Everything else that differs is refused. The check
//! tells the two apart, since a changed length cannot pass for a cut.

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
    hmac::{self, HMAC_SHA256},
    rand::{SecureRandom, SystemRandom},
};
use zeroize::Zeroizing;

use crate::StateError;

/// The key file's content.
pub(super) type RootKey = Zeroizing<[u8; 32]>;

const MAGIC: &[u8; 8] = b"SEALCON1";
const FILE_ID_LEN: usize = 16;
pub(super) const HEADER_LEN: usize = MAGIC.len() + FILE_ID_LEN;
const CHECK_LEN: usize = 12;
const PREFIX_LEN: usize = 4 + CHECK_LEN;

/// An opened record.
pub(super) type Record = Zeroizing<Vec<u8>>;

/// The keys of one file.
pub(super) struct Sealing {
    file_id: [u8; FILE_ID_LEN],
    seal: LessSafeKey,
    check: hmac::Key,
    random: SystemRandom,
}

/// What a file holds.
pub(super) struct Contents {
    pub(super) sealing: Sealing,
    /// The snapshot, then what was committed after it.
    pub(super) records: Vec<Record>,
    /// Bytes up to the end of the last whole record.
    pub(super) length: usize,
    /// Bytes up to the end of the snapshot.
    pub(super) snapshot_length: usize,
}

impl Sealing {
    /// For a new file.
    pub(super) fn fresh(root: &RootKey) -> Result<Self, StateError> {
        let random = SystemRandom::new();
        let mut file_id = [0; FILE_ID_LEN];
        random
            .fill(&mut file_id)
            .map_err(|_| StateError::Damaged("no randomness"))?;
        Self::of(root, file_id)
    }

    fn of(root: &RootKey, file_id: [u8; FILE_ID_LEN]) -> Result<Self, StateError> {
        const KEYS: StateError = StateError::Damaged("no keys");
        let secret = Salt::new(HKDF_SHA256, &file_id).extract(&**root);
        let seal = secret
            .expand(&[b"sealpost/consumer-state/seal"], &AES_256_GCM)
            .map_err(|_| KEYS)?;
        let check = secret
            .expand(&[b"sealpost/consumer-state/length"], HMAC_SHA256)
            .map_err(|_| KEYS)?;
        Ok(Self {
            file_id,
            seal: LessSafeKey::new(UnboundKey::from(seal)),
            check: hmac::Key::from(check),
            random: SystemRandom::new(),
        })
    }

    pub(super) fn header(&self) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        header[..MAGIC.len()].copy_from_slice(MAGIC);
        header[MAGIC.len()..].copy_from_slice(&self.file_id);
        header
    }

    /// The bytes of record `sequence`.
    pub(super) fn record(&self, sequence: u64, plain: &[u8]) -> Result<Vec<u8>, StateError> {
        const SEALING: StateError = StateError::Damaged("a record cannot be sealed");
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| SEALING)?;
        let body_len = NONCE_LEN + plain.len() + AES_256_GCM.tag_len();
        let length = u32::try_from(body_len).map_err(|_| SEALING)?.to_be_bytes();

        let mut record = Vec::with_capacity(PREFIX_LEN + body_len);
        record.extend_from_slice(&length);
        record.extend_from_slice(&self.length_check(sequence, length));
        record.extend_from_slice(&nonce);
        record.extend_from_slice(plain);
        let (_, inside) = record.split_at_mut(PREFIX_LEN + NONCE_LEN);
        let tag = self
            .seal
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(self.associated(sequence)),
                inside,
            )
            .map_err(|_| SEALING)?;
        record.extend_from_slice(tag.as_ref());
        Ok(record)
    }

    fn open(&self, sequence: u64, body: &[u8]) -> Result<Zeroizing<Vec<u8>>, StateError> {
        const CHANGED: StateError = StateError::Damaged("a record was changed");
        let (nonce, sealed) = body.split_first_chunk::<NONCE_LEN>().ok_or(CHANGED)?;
        let mut inside = Zeroizing::new(sealed.to_vec());
        let length = self
            .seal
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(self.associated(sequence)),
                &mut inside,
            )
            .map_err(|_| CHANGED)?
            .len();
        inside.truncate(length);
        Ok(inside)
    }

    fn associated(&self, sequence: u64) -> [u8; HEADER_LEN + 8] {
        let mut associated = [0; HEADER_LEN + 8];
        associated[..HEADER_LEN].copy_from_slice(&self.header());
        associated[HEADER_LEN..].copy_from_slice(&sequence.to_be_bytes());
        associated
    }

    fn length_check(&self, sequence: u64, length: [u8; 4]) -> [u8; CHECK_LEN] {
        let mut context = hmac::Context::with_key(&self.check);
        context.update(&self.associated(sequence));
        context.update(&length);
        let mut check = [0; CHECK_LEN];
        check.copy_from_slice(&context.sign().as_ref()[..CHECK_LEN]);
        check
    }
}

/// Opens every record of a file.
///
/// # Errors
/// [`StateError::Damaged`] for anything but a last record that was cut short.
pub(super) fn read(root: &RootKey, bytes: &[u8]) -> Result<Contents, StateError> {
    const NO_STATE: StateError = StateError::Damaged("not a state file");
    let (header, _) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(NO_STATE)?;
    let file_id = header
        .strip_prefix(MAGIC)
        .and_then(|file_id| file_id.try_into().ok())
        .ok_or(NO_STATE)?;
    let sealing = Sealing::of(root, file_id)?;

    let mut records = Vec::new();
    let mut length = HEADER_LEN;
    let mut snapshot_length = 0;
    for sequence in 0.. {
        let Some(body) = next_body(&sealing, sequence, &bytes[length..])? else {
            break;
        };
        records.push(sealing.open(sequence, body)?);
        length += PREFIX_LEN + body.len();
        if sequence == 0 {
            snapshot_length = length;
        }
    }
    if records.is_empty() {
        return Err(StateError::Damaged("the snapshot is cut short"));
    }
    Ok(Contents {
        sealing,
        records,
        length,
        snapshot_length,
    })
}

/// The next record's body; none at the end, or when a crash cut it short.
fn next_body<'a>(
    sealing: &Sealing,
    sequence: u64,
    rest: &'a [u8],
) -> Result<Option<&'a [u8]>, StateError> {
    let Some((prefix, rest)) = rest.split_first_chunk::<PREFIX_LEN>() else {
        return Ok(None);
    };
    let mut length = [0; 4];
    length.copy_from_slice(&prefix[..4]);
    if sealing.length_check(sequence, length) != prefix[4..] {
        return Err(StateError::Damaged("a record's length was changed"));
    }
    let length = usize::try_from(u32::from_be_bytes(length))
        .map_err(|_| StateError::Damaged("a record is too long"))?;
    Ok(rest.get(..length))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const ROOT: [u8; 32] = [7; 32];

    /// A file and where each of its records ends.
    fn file(records: &[Vec<u8>]) -> (Vec<u8>, Vec<usize>) {
        let sealing = Sealing::fresh(&RootKey::new(ROOT)).unwrap();
        let mut bytes = sealing.header().to_vec();
        let mut ends = Vec::new();
        for (sequence, record) in records.iter().enumerate() {
            bytes.extend(sealing.record(sequence as u64, record).unwrap());
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    fn read_all(bytes: &[u8]) -> Result<Vec<Vec<u8>>, StateError> {
        let contents = read(&RootKey::new(ROOT), bytes)?;
        Ok(contents
            .records
            .iter()
            .map(|record| record.to_vec())
            .collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn a_file_cut_anywhere_after_its_snapshot_keeps_every_whole_record(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..6),
        ) {
            let (bytes, ends) = file(&records);
            for cut in 0..=bytes.len() {
                let whole = ends.iter().filter(|end| **end <= cut).count();
                match read_all(&bytes[..cut]) {
                    Ok(read) => {
                        prop_assert!(whole > 0);
                        prop_assert_eq!(&read[..], &records[..whole]);
                    }
                    Err(_) => prop_assert_eq!(whole, 0, "cut at {}", cut),
                }
            }
        }

        #[test]
        fn a_flipped_bit_anywhere_is_refused(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 1..4),
            bit in 0u8..8,
        ) {
            let (bytes, _) = file(&records);
            for place in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[place] ^= 1 << bit;
                prop_assert!(read_all(&changed).is_err(), "byte {}", place);
            }
        }
    }

    #[test]
    fn records_cannot_change_places_or_come_from_another_file() {
        let records = vec![b"snapshot".to_vec(), b"first".to_vec(), b"other".to_vec()];
        let (bytes, ends) = file(&records);
        let mut swapped = bytes[..ends[0]].to_vec();
        swapped.extend(&bytes[ends[1]..]);
        swapped.extend(&bytes[ends[0]..ends[1]]);
        assert!(read_all(&swapped).is_err());

        let (another, other_ends) = file(&records);
        let mut mixed = bytes[..ends[1]].to_vec();
        mixed.extend(&another[other_ends[1]..]);
        assert!(read_all(&mixed).is_err());
        assert!(read(&RootKey::new([8; 32]), &bytes).is_err());
    }
}
