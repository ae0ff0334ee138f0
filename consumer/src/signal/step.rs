//! One step of a session: establish, encrypt, decrypt.
//!
//! Each runs libsignal to completion over stores in memory and answers the effects; the caller absorbs them into the draft, or
//! drops them when it refuses what came out.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use libsignal_protocol::{
    CiphertextMessage, CiphertextMessageType, DeviceId, IdentityKey, PreKeySignalMessage,
    ProtocolAddress, SessionRecord, SessionUsabilityRequirements, SignalMessage,
    SignalProtocolError, message_decrypt, message_encrypt, process_prekey_bundle,
};
use rand::{CryptoRng, Rng};
use sealpost_runtime::Timestamp;
use zeroize::Zeroizing;

use super::{
    bundle::Bundle,
    draft::{Draft, Effects},
    stores::{Identity, Kem, OneTime, Session, Signed},
};
use crate::{SignalFault, ids::PhoneNumberId, low_order, state::PrekeyKind};

/// Whether messages to this number can be encrypted without a bundle.
pub(crate) fn has_session(session: Option<&SessionRecord>, now: Timestamp) -> bool {
    let requirements = SessionUsabilityRequirements::all();
    session.is_some_and(|session| {
        session
            .has_usable_sender_chain(system_time(now), requirements)
            .unwrap_or(false)
    })
}

/// The base key that the present session began with: tells one session with a number from another.
pub(crate) fn base_key(session: Option<&SessionRecord>) -> Option<Vec<u8>> {
    session?.alice_base_key().ok().map(<[u8]>::to_vec)
}

/// Starts a session from a bundle (PQXDH). The session with another identity than the pinned one is dropped first.
pub(crate) fn establish(
    draft: &Draft<'_>,
    number: &PhoneNumberId,
    bundle: &Bundle,
    now: Timestamp,
    rng: &mut (impl Rng + CryptoRng),
) -> Result<Effects, SignalFault> {
    let mut session = session_under(draft, number, bundle.identity_key());
    let mut identity = identity(draft)?;
    run(process_prekey_bundle(
        &address(number)?,
        &mut session,
        &mut identity,
        bundle.prekeys(),
        system_time(now),
        rng,
    ))
    .map_err(|_| SignalFault::Bundle)?;
    Ok(Effects {
        session: session.after,
        identity_key: identity.peer.as_ref().map(bytes_of),
        ..Effects::default()
    })
}

/// Encrypts a frame. Answers libsignal's number of the ciphertext's kind, and the ciphertext.
pub(crate) fn encrypt(
    draft: &Draft<'_>,
    number: &PhoneNumberId,
    plain: &[u8],
    now: Timestamp,
    rng: &mut (impl Rng + CryptoRng),
) -> Result<(u8, Vec<u8>, Effects), SignalFault> {
    let mut session = Session {
        before: draft.session(number).cloned(),
        after: None,
    };
    let mut identity = identity(draft)?;
    let message = run(message_encrypt(
        plain,
        &address(number)?,
        &mut session,
        &mut identity,
        system_time(now),
        rng,
    ))?;
    let effects = Effects {
        session: session.after,
        identity_key: identity.peer.as_ref().map(bytes_of),
        ..Effects::default()
    };
    Ok((
        message.message_type() as u8,
        message.serialize().to_vec(),
        effects,
    ))
}

/// Decrypts a ciphertext. Keys of low order in it are refused before anything is computed with them.
pub(crate) fn decrypt(
    draft: &Draft<'_>,
    number: &PhoneNumberId,
    kind: u8,
    ciphertext: &[u8],
    rng: &mut (impl Rng + CryptoRng),
) -> Result<(Zeroizing<Vec<u8>>, Effects), SignalFault> {
    let message = parse(kind, ciphertext)?;
    low_order::refuse_in(&message)?;
    let mut session = match &message {
        CiphertextMessage::PreKeySignalMessage(message) => {
            session_under(draft, number, message.identity_key())
        }
        _ => Session {
            before: draft.session(number).cloned(),
            after: None,
        },
    };
    let mut identity = identity(draft)?;
    let mut one_time = OneTime { draft, spent: None };
    let mut kem = Kem {
        draft,
        spent: None,
        base_key: None,
    };
    let plain = run(message_decrypt(
        &message,
        &address(number)?,
        &mut session,
        &mut identity,
        &mut one_time,
        &Signed(draft),
        &mut kem,
        rng,
    ))?;
    let spent = [
        (PrekeyKind::OneTime, one_time.spent),
        (PrekeyKind::Kem, kem.spent),
    ];
    let effects = Effects {
        session: session.after,
        identity_key: identity.peer.as_ref().map(bytes_of),
        spent: spent
            .into_iter()
            .filter_map(|(kind, id)| Some((kind, id?)))
            .collect(),
        base_key: kem.base_key,
    };
    Ok((Zeroizing::new(plain), effects))
}

fn parse(kind: u8, ciphertext: &[u8]) -> Result<CiphertextMessage, SignalFault> {
    match CiphertextMessageType::try_from(kind) {
        Ok(CiphertextMessageType::Whisper) => Ok(CiphertextMessage::SignalMessage(
            SignalMessage::try_from(ciphertext)?,
        )),
        Ok(CiphertextMessageType::PreKey) => Ok(CiphertextMessage::PreKeySignalMessage(
            PreKeySignalMessage::try_from(ciphertext)?,
        )),
        _ => Err(SignalFault::Undecryptable),
    }
}

/// The session as it counts under this identity key: none, when another key is pinned.
fn session_under(draft: &Draft<'_>, number: &PhoneNumberId, key: &IdentityKey) -> Session {
    let changed = draft
        .pin(number)
        .is_some_and(|pinned| pinned != bytes_of(key));
    let before = if changed {
        None
    } else {
        draft.session(number).cloned()
    };
    Session {
        before,
        after: None,
    }
}

fn identity(draft: &Draft<'_>) -> Result<Identity, SignalFault> {
    let (own, registration_id) = draft.own()?;
    Ok(Identity {
        own,
        registration_id,
        peer: None,
    })
}

/// A business is one device at Signal: (phone number id, 1).
fn address(number: &PhoneNumberId) -> Result<ProtocolAddress, SignalFault> {
    let device = DeviceId::try_from(1u32).map_err(|_| SignalFault::OwnKeys)?;
    Ok(ProtocolAddress::new(number.as_str().to_owned(), device))
}

pub(super) fn bytes_of(key: &IdentityKey) -> [u8; 33] {
    let mut bytes = [0; 33];
    bytes.copy_from_slice(&key.serialize());
    bytes
}

fn system_time(now: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(now.as_millis())
}

/// The stores never wait, so a step is done when it is first polled.
fn run<T>(step: impl Future<Output = Result<T, SignalProtocolError>>) -> Result<T, SignalFault> {
    step.now_or_never()
        .ok_or(SignalFault::OwnKeys)?
        .map_err(SignalFault::from)
}

impl From<SignalProtocolError> for SignalFault {
    /// libsignal's texts name addresses and keys: they end here.
    fn from(error: SignalProtocolError) -> Self {
        match error {
            SignalProtocolError::DuplicatedMessage(..) => Self::Duplicate,
            SignalProtocolError::SessionNotFound(_) => Self::NoSession,
            SignalProtocolError::InvalidPreKeyId
            | SignalProtocolError::InvalidSignedPreKeyId
            | SignalProtocolError::InvalidKyberPreKeyId => Self::UnknownPrekey,
            SignalProtocolError::InvalidSessionStructure(_)
            | SignalProtocolError::InvalidState(..) => Self::OwnKeys,
            _ => Self::Undecryptable,
        }
    }
}
