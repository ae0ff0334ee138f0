//! Ciphertexts from consumers' devices, parsed, their public keys checked before libsignal computes with any.

use libsignal_protocol::{IdentityKey, PreKeySignalMessage, SignalMessage};
use sealpost_proto::signal::v1::CiphertextType;

use super::{SignalError, guarded, keys};

/// A message whose keys are acceptable. Nothing vouches for it yet.
pub(crate) enum InboundMessage {
    /// Within a session.
    Message(Box<SignalMessage>),
    /// It may establish a session.
    Prekey(Box<PreKeySignalMessage>),
}

/// Which of our prekeys a message claims to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PrekeyIds {
    pub(crate) signed: u32,
    pub(crate) one_time: Option<u32>,
    pub(crate) kem: u32,
}

impl InboundMessage {
    /// Parses a ciphertext of the type that its envelope names.
    ///
    /// # Errors
    /// [`SignalError::Malformed`].
    pub(crate) fn parse(kind: CiphertextType, ciphertext: &[u8]) -> Result<Self, SignalError> {
        guarded(|| Self::read(kind, ciphertext))?
    }

    fn read(kind: CiphertextType, ciphertext: &[u8]) -> Result<Self, SignalError> {
        match kind {
            CiphertextType::Message => {
                let message =
                    SignalMessage::try_from(ciphertext).map_err(|_| SignalError::Malformed)?;
                keys::check(message.sender_ratchet_key())?;
                Ok(Self::Message(Box::new(message)))
            }
            CiphertextType::PrekeyMessage => {
                let message = PreKeySignalMessage::try_from(ciphertext)
                    .map_err(|_| SignalError::Malformed)?;
                keys::check(message.base_key())?;
                keys::check(message.identity_key().public_key())?;
                keys::check(message.message().sender_ratchet_key())?;
                Ok(Self::Prekey(Box::new(message)))
            }
            CiphertextType::Unspecified => Err(SignalError::Malformed),
        }
    }

    /// The prekeys that it claims to use. None for a message within a session, and for one without a KEM prekey, which
    /// libsignal refuses.
    pub(crate) fn prekey_ids(&self) -> Option<PrekeyIds> {
        match self {
            Self::Message(_) => None,
            Self::Prekey(message) => Some(PrekeyIds {
                signed: message.signed_pre_key_id().into(),
                one_time: message.pre_key_id().map(Into::into),
                kem: message.kyber_pre_key_id()?.into(),
            }),
        }
    }

    /// The base key of the session that it may establish.
    pub(crate) fn base_key(&self) -> Option<Box<[u8]>> {
        match self {
            Self::Message(_) => None,
            Self::Prekey(message) => Some(message.base_key().serialize()),
        }
    }

    /// The registration id that it shows; one within a session shows none.
    pub(crate) fn registration_id(&self) -> Option<u32> {
        match self {
            Self::Message(_) => None,
            Self::Prekey(message) => Some(message.registration_id()),
        }
    }

    /// The identity key that it shows; one within a session shows none.
    pub(crate) fn identity(&self) -> Option<IdentityKey> {
        match self {
            Self::Message(_) => None,
            Self::Prekey(message) => Some(*message.identity_key()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use libsignal_protocol::{KeyPair, KyberPayload, PublicKey};
    use rand::{TryRngCore, rngs::OsRng};

    use super::*;
    use crate::signal::bad_keys;

    const VERSION: u8 = 4;

    fn honest() -> PublicKey {
        KeyPair::generate(&mut OsRng.unwrap_err()).public_key
    }

    fn message(ratchet: PublicKey) -> SignalMessage {
        let (ours, theirs) = (IdentityKey::new(honest()), IdentityKey::new(honest()));
        SignalMessage::new(
            VERSION,
            &[0; 32],
            ratchet,
            0,
            0,
            b"ciphertext",
            &ours,
            &theirs,
            &[],
        )
        .unwrap()
    }

    fn prekey_message(
        base: PublicKey,
        identity: PublicKey,
        ratchet: PublicKey,
    ) -> PreKeySignalMessage {
        let kem = KyberPayload::new(3.into(), Box::new([8; 1569]));
        let identity = IdentityKey::new(identity);
        PreKeySignalMessage::new(
            VERSION,
            1,
            Some(2.into()),
            1.into(),
            Some(kem),
            base,
            identity,
            message(ratchet),
        )
        .unwrap()
    }

    #[test]
    fn honest_messages_are_read_with_the_prekeys_they_name() {
        let bytes = prekey_message(honest(), honest(), honest());
        let parsed =
            InboundMessage::parse(CiphertextType::PrekeyMessage, bytes.serialized()).unwrap();
        assert_eq!(
            parsed.prekey_ids(),
            Some(PrekeyIds {
                signed: 1,
                one_time: Some(2),
                kem: 3
            })
        );
        let bytes = message(honest());
        let parsed = InboundMessage::parse(CiphertextType::Message, bytes.serialized()).unwrap();
        assert_eq!(parsed.prekey_ids(), None);
    }

    #[test]
    fn low_order_keys_are_refused_in_every_place_of_a_message() {
        for (what, bytes) in bad_keys() {
            let bad = PublicKey::from_djb_public_key_bytes(&bytes).unwrap();
            let prekey_messages = [
                prekey_message(bad, honest(), honest()),
                prekey_message(honest(), bad, honest()),
                prekey_message(honest(), honest(), bad),
            ];
            for message in &prekey_messages {
                let refused =
                    InboundMessage::parse(CiphertextType::PrekeyMessage, message.serialized());
                assert_eq!(refused.err(), Some(SignalError::Malformed), "{what}");
            }
            let refused = InboundMessage::parse(CiphertextType::Message, message(bad).serialized());
            assert_eq!(refused.err(), Some(SignalError::Malformed), "{what}");
        }
    }

    #[test]
    fn bytes_of_another_type_or_none_are_malformed() {
        let bytes = message(honest());
        for kind in [CiphertextType::PrekeyMessage, CiphertextType::Unspecified] {
            assert!(InboundMessage::parse(kind, bytes.serialized()).is_err());
        }
        for bytes in [&b""[..], b"\x44", &[0xff; 64]] {
            assert!(InboundMessage::parse(CiphertextType::Message, bytes).is_err());
            assert!(InboundMessage::parse(CiphertextType::PrekeyMessage, bytes).is_err());
        }
    }
}
