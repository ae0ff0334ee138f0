//! Prekeys: made here, their public halves uploaded, their private halves stored sealed.

use libsignal_protocol::{
    GenericSignedPreKey, KeyPair, KyberPreKeyRecord, PreKeyRecord, SignedPreKeyRecord, Timestamp,
    kem,
};
use rand::{CryptoRng, Rng};
use sealpost_proto::signal::v1 as proto;
use zeroize::Zeroizing;

use super::{LocalIdentity, SignalError};

/// A one-time prekey: what is uploaded, and libsignal's record to store sealed.
pub(crate) struct OneTimePrekeyPair {
    pub(crate) public: proto::OneTimePrekey,
    pub(crate) record: Zeroizing<Vec<u8>>,
}

/// A signed prekey.
pub(crate) struct SignedPrekeyPair {
    pub(crate) public: proto::SignedPrekey,
    pub(crate) record: Zeroizing<Vec<u8>>,
}

/// A KEM prekey, one-time or last-resort.
pub(crate) struct KemPrekeyPair {
    pub(crate) public: proto::KemPrekey,
    pub(crate) record: Zeroizing<Vec<u8>>,
}

impl OneTimePrekeyPair {
    pub(crate) fn generate(id: u32, rng: &mut (impl Rng + CryptoRng)) -> Result<Self, SignalError> {
        let pair = KeyPair::generate(rng);
        let record = PreKeyRecord::new(id.into(), &pair)
            .serialize()
            .map_err(|_| SignalError::State)?;
        let public = proto::OneTimePrekey {
            id,
            public_key: pair.public_key.serialize().into_vec().into(),
        };
        Ok(Self {
            public,
            record: Zeroizing::new(record),
        })
    }
}

impl SignedPrekeyPair {
    pub(crate) fn generate(
        id: u32,
        identity: &LocalIdentity,
        now_ms: u64,
        rng: &mut (impl Rng + CryptoRng),
    ) -> Result<Self, SignalError> {
        let pair = KeyPair::generate(rng);
        let signature = identity
            .private_key()?
            .calculate_signature(&pair.public_key.serialize(), rng)
            .map_err(|_| SignalError::State)?;
        let record = SignedPreKeyRecord::new(
            id.into(),
            Timestamp::from_epoch_millis(now_ms),
            &pair,
            &signature,
        );
        let record = Zeroizing::new(record.serialize().map_err(|_| SignalError::State)?);
        Ok(Self {
            public: Self::public_of(&record)?,
            record,
        })
    }

    /// The public half of a stored record.
    pub(crate) fn public_of(record: &[u8]) -> Result<proto::SignedPrekey, SignalError> {
        let read = || -> Result<_, libsignal_protocol::SignalProtocolError> {
            let record = SignedPreKeyRecord::deserialize(record)?;
            Ok(proto::SignedPrekey {
                id: record.id()?.into(),
                public_key: record.public_key()?.serialize().into_vec().into(),
                signature: record.signature()?.into(),
            })
        };
        read().map_err(|_| SignalError::State)
    }
}

impl KemPrekeyPair {
    pub(crate) fn generate(
        id: u32,
        identity: &LocalIdentity,
        now_ms: u64,
        rng: &mut (impl Rng + CryptoRng),
    ) -> Result<Self, SignalError> {
        let pair = kem::KeyPair::generate(kem::KeyType::Kyber1024, rng);
        let signature = identity
            .private_key()?
            .calculate_signature(&pair.public_key.serialize(), rng)
            .map_err(|_| SignalError::State)?;
        let record = KyberPreKeyRecord::new(
            id.into(),
            Timestamp::from_epoch_millis(now_ms),
            &pair,
            &signature,
        );
        let record = Zeroizing::new(record.serialize().map_err(|_| SignalError::State)?);
        Ok(Self {
            public: Self::public_of(&record)?,
            record,
        })
    }

    /// The public half of a stored record.
    pub(crate) fn public_of(record: &[u8]) -> Result<proto::KemPrekey, SignalError> {
        let read = || -> Result<_, libsignal_protocol::SignalProtocolError> {
            let record = KyberPreKeyRecord::deserialize(record)?;
            Ok(proto::KemPrekey {
                id: record.id()?.into(),
                public_key: record.public_key()?.serialize().into_vec().into(),
                signature: record.signature()?.into(),
            })
        };
        read().map_err(|_| SignalError::State)
    }
}
