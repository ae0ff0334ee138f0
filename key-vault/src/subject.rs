//! A subject: one consumer of one number, named without its phone number.
//!
//! Owns the subject's names and what the vault remembers of it. Invariant: nothing here, sealed or not, holds a phone
//! number; only the number's lookup key leads from one to a [`SubjectId`].

use std::{collections::BTreeMap, fmt};

use sealpost_envelope::{
    Entropy, EnvelopeError, Secret,
    kdf::{hkdf_sha256, sha256},
};
use zeroize::Zeroizing;

use crate::layout::{Reader, put_field8};

/// A serialised public key of libsignal's: the type byte, then the Montgomery point.
pub(crate) const PUBLIC_KEY_LEN: usize = 33;
const VERSION: u8 = 2;
const DEVICE_LEN: usize = 5;
const SEAL_LEN: usize = 17;
const TAG_INFO: &[u8] = b"sealpost/tag";

macro_rules! name16 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) struct $name(pub(crate) [u8; 16]);

        impl $name {
            pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), hex::encode(self.0))
            }
        }
    };
}

name16! {
    /// First 16 bytes of HMAC-SHA256(number's lookup key, phone number). Never leaves the vault.
    SubjectId
}

name16! {
    /// What store and retention call the subject: derived from its key, so that it dies with it.
    Tag
}

/// What the vault knows of a subject.
pub(crate) struct Subject {
    /// Half of what its records are sealed under.
    pub(crate) key: Secret<32>,
    pub(crate) facts: Facts,
    /// Device → which bytes its session's row holds. So a session cannot be put back to an earlier one by itself.
    pub(crate) seals: BTreeMap<u8, Seal>,
}

/// First 16 bytes of SHA-256 of a session's sealed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal(pub(crate) [u8; 16]);

impl Seal {
    pub(crate) fn of(sealed: &[u8]) -> Self {
        let mut seal = [0; 16];
        seal.copy_from_slice(&sha256(&[sealed])[..16]);
        Self(seal)
    }
}

/// The part of a subject that changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The identity key that all its devices must show; none before first contact.
    pub(crate) identity: Option<[u8; PUBLIC_KEY_LEN]>,
    /// The pinned key was replaced on the way out, where no event is made: the next message in tells of it.
    pub(crate) change_untold: bool,
    /// Outbound messages admitted.
    pub(crate) accepted: u64,
    /// The last outbound sequence that was encrypted.
    pub(crate) encrypted_through: u64,
    /// Inbound messages decrypted.
    pub(crate) received: u64,
    /// When the relay made the statement that `devices` is of, milliseconds since the Unix epoch; 0 before the first.
    pub(crate) listed_at_ms: u64,
    /// Device id → registration id, as the relay last signed it. Inbound messages alone never add to it.
    pub(crate) devices: BTreeMap<u8, u32>,
}

impl Subject {
    /// A subject never met before.
    ///
    /// # Errors
    /// [`EnvelopeError::NoRandomness`].
    pub(crate) fn generate(entropy: &mut dyn Entropy) -> Result<Self, EnvelopeError> {
        Ok(Self {
            key: Secret::generate(entropy)?,
            facts: Facts::default(),
            seals: BTreeMap::new(),
        })
    }

    /// Its blind tag.
    ///
    /// # Errors
    /// None that this length can give.
    pub(crate) fn tag(&self) -> Result<Tag, EnvelopeError> {
        hkdf_sha256::<16>(b"", self.key.expose(), &[TAG_INFO]).map(|tag| Tag(*tag.expose()))
    }

    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let facts = &self.facts;
        let lists = DEVICE_LEN * facts.devices.len() + SEAL_LEN * self.seals.len();
        let mut out = Zeroizing::new(Vec::with_capacity(128 + lists));
        out.push(VERSION);
        out.extend_from_slice(self.key.expose());
        put_field8(
            &mut out,
            facts.identity.as_ref().map_or(&[], |key| key.as_slice()),
        );
        out.push(u8::from(facts.change_untold));
        for counter in [
            facts.accepted,
            facts.encrypted_through,
            facts.received,
            facts.listed_at_ms,
        ] {
            out.extend_from_slice(&counter.to_be_bytes());
        }
        // Device ids end at 127, so a byte counts them.
        out.push(u8::try_from(facts.devices.len()).unwrap_or(u8::MAX));
        for (device, registration) in &facts.devices {
            out.push(*device);
            out.extend_from_slice(&registration.to_be_bytes());
        }
        for (device, seal) in &self.seals {
            out.push(*device);
            out.extend_from_slice(&seal.0);
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.byte()? != VERSION {
            return None;
        }
        let key = Secret::from_slice(reader.take(32)?).ok()?;
        let identity = match reader.field8()? {
            [] => None,
            key => Some(key.try_into().ok()?),
        };
        let change_untold = match reader.byte()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let (accepted, encrypted_through, received) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let listed_at_ms = reader.u64()?;
        let devices = usize::from(reader.byte()?) * DEVICE_LEN;
        let devices = reader
            .take(devices)?
            .as_chunks::<DEVICE_LEN>()
            .0
            .iter()
            .map(|[device, a, b, c, d]| (*device, u32::from_be_bytes([*a, *b, *c, *d])))
            .collect();
        let (seals, []) = reader.rest().as_chunks::<SEAL_LEN>() else {
            return None;
        };
        let seals = seals
            .iter()
            .filter_map(|[device, seal @ ..]| {
                Some((*device, Seal(seal.as_slice().try_into().ok()?)))
            })
            .collect();
        Some(Self {
            key,
            seals,
            facts: Facts {
                identity,
                change_untold,
                accepted,
                encrypted_through,
                received,
                listed_at_ms,
                devices,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sealpost_envelope::OsEntropy;

    use super::*;

    #[test]
    fn a_subject_reads_back_from_its_bytes() {
        let mut subject = Subject::generate(&mut OsEntropy).unwrap();
        subject.facts = Facts {
            identity: Some([5; PUBLIC_KEY_LEN]),
            change_untold: true,
            accepted: 3,
            encrypted_through: 2,
            received: 1,
            listed_at_ms: 9,
            devices: [(1, 0x3fff), (127, 1)].into(),
        };
        subject.seals = [(1, Seal::of(b"one")), (127, Seal::of(b"two"))].into();
        let again = Subject::decode(&subject.encode()).unwrap();
        assert_eq!(again.facts, subject.facts);
        assert_eq!(again.seals, subject.seals);
        assert!(again.key.ct_eq(&subject.key));
        assert_eq!(again.tag().unwrap(), subject.tag().unwrap());
        assert!(Subject::decode(&subject.encode()[1..]).is_none());
    }

    #[test]
    fn two_subjects_have_different_tags() {
        let tag = || Subject::generate(&mut OsEntropy).unwrap().tag().unwrap();
        assert_ne!(tag(), tag());
    }
}
