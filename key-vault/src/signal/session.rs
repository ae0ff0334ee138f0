//! One session with one device, and the three steps on it: begin, encrypt, decrypt.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::FutureExt;
use libsignal_protocol::{
    CiphertextMessage, CiphertextMessageType, GenericSignedPreKey, IdentityKey, KyberPreKeyRecord,
    PreKeyBundle, PreKeyRecord, ProtocolAddress, SessionRecord, SessionUsabilityRequirements,
    SignalProtocolError, SignedPreKeyRecord, message_decrypt_prekey, message_decrypt_signal,
    message_encrypt, process_prekey_bundle,
};
use rand::{CryptoRng, Rng};
use sealpost_proto::signal::v1::CiphertextType;
use sealpost_runtime::Timestamp;
use zeroize::Zeroizing;

use super::{
    InboundMessage, LocalIdentity, SignalError, address, guarded, inbound_error,
    store::{IdentityStep, KemStep, OneTimeStep, SessionStep, SignedStep},
};
use crate::subject::SubjectId;

/// A session with a device; past ones that may still receive are inside.
///
/// Clones share it: a step works on a copy and leaves a new one.
#[derive(Clone)]
pub(crate) struct Session(Arc<SessionRecord>);

/// Both ends of a step.
#[derive(Clone, Copy)]
pub(crate) struct Ends<'a> {
    pub(crate) local: &'a LocalIdentity,
    pub(crate) subject: SubjectId,
    pub(crate) device: u8,
    /// The remote identity that the step must meet.
    pub(crate) identity: IdentityKey,
}

/// Our own prekeys that a message may use, as stored.
#[derive(Default)]
pub(crate) struct StepPrekeys {
    pub(crate) signed: Option<Zeroizing<Vec<u8>>>,
    pub(crate) one_time: Option<Zeroizing<Vec<u8>>>,
    pub(crate) kem: Option<Zeroizing<Vec<u8>>>,
    /// The message's base key met these prekeys before.
    pub(crate) seen_before: bool,
}

/// What a new session used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) kem: u32,
    pub(crate) signed: u32,
    pub(crate) base_key: Box<[u8]>,
    pub(crate) one_time: Option<u32>,
}

/// A decrypted message and the state after it.
pub(crate) struct Decryption {
    pub(crate) plaintext: Zeroizing<Vec<u8>>,
    pub(crate) session: Session,
    /// Present when the message established a session.
    pub(crate) used: Option<Used>,
}

impl Session {
    pub(crate) fn deserialize(bytes: &[u8]) -> Result<Self, SignalError> {
        SessionRecord::deserialize(bytes)
            .map(|record| Self(Arc::new(record)))
            .map_err(|_| SignalError::State)
    }

    pub(crate) fn serialize(&self) -> Result<Zeroizing<Vec<u8>>, SignalError> {
        self.0
            .serialize()
            .map(Zeroizing::new)
            .map_err(|_| SignalError::State)
    }

    /// The device's registration id, when the session is one that sends.
    pub(crate) fn registration_id(&self) -> Option<u32> {
        self.0.remote_registration_id().ok()
    }

    /// Whether a message that would begin a session began this one.
    pub(crate) fn began_with(&self, message: &InboundMessage) -> bool {
        match message.base_key() {
            Some(base_key) => self.0.alice_base_key().is_ok_and(|ours| *ours == *base_key),
            None => true,
        }
    }

    /// Whether it can send: post-quantum from its start, ratcheting post-quantum, and not long unanswered.
    pub(crate) fn can_send(&self, now: Timestamp) -> bool {
        let requirements = SessionUsabilityRequirements::NotStale
            | SessionUsabilityRequirements::EstablishedWithPqxdh
            | SessionUsabilityRequirements::Spqr;
        self.0
            .has_usable_sender_chain(system_time(now), requirements)
            .unwrap_or(false)
    }

    /// Makes a session from a device's bundle; `before`, if any, is archived inside it and still receives.
    ///
    /// # Errors
    /// [`SignalError::Bundle`] when the signatures do not verify.
    pub(crate) fn begin(
        ends: &Ends<'_>,
        before: Option<&Session>,
        bundle: &PreKeyBundle,
        now: Timestamp,
        rng: &mut (impl Rng + CryptoRng),
    ) -> Result<Self, SignalError> {
        let address = ends.address()?;
        let mut identity = ends.identity_step()?;
        let mut session = SessionStep(before.map(|session| session.0.clone()));
        let step = process_prekey_bundle(
            &address,
            &mut session,
            &mut identity,
            bundle,
            system_time(now),
            rng,
        );
        complete(step)?.map_err(|_| SignalError::Bundle)?;
        session.0.map(Self).ok_or(SignalError::State)
    }

    /// Encrypts a frame and moves the session on.
    ///
    /// # Errors
    /// [`SignalError::State`]; the session is then unchanged.
    pub(crate) fn encrypt(
        &mut self,
        ends: &Ends<'_>,
        frame: &[u8],
        now: Timestamp,
        rng: &mut (impl Rng + CryptoRng),
    ) -> Result<(CiphertextType, Vec<u8>), SignalError> {
        let address = ends.address()?;
        let mut identity = ends.identity_step()?;
        let mut session = SessionStep(Some(self.0.clone()));
        let step = message_encrypt(
            frame,
            &address,
            &mut session,
            &mut identity,
            system_time(now),
            rng,
        );
        let message: CiphertextMessage = complete(step)?.map_err(|_| SignalError::State)?;
        let kind = match message.message_type() {
            CiphertextMessageType::Whisper => CiphertextType::Message,
            CiphertextMessageType::PreKey => CiphertextType::PrekeyMessage,
            CiphertextMessageType::SenderKey | CiphertextMessageType::Plaintext => {
                return Err(SignalError::State);
            }
        };
        self.0 = session.0.ok_or(SignalError::State)?;
        Ok((kind, message.serialize().to_vec()))
    }

    /// Decrypts a message under `before`, or under the session that it establishes.
    ///
    /// # Errors
    /// [`SignalError::Duplicate`] or [`SignalError::Undecryptable`]; nothing is then changed.
    pub(crate) fn decrypt(
        ends: &Ends<'_>,
        before: Option<&Session>,
        message: &InboundMessage,
        prekeys: &StepPrekeys,
        rng: &mut (impl Rng + CryptoRng),
    ) -> Result<Decryption, SignalError> {
        let address = ends.address()?;
        let mut identity = ends.identity_step()?;
        let mut session = SessionStep(before.map(|session| session.0.clone()));
        let mut used = None;
        let plaintext = match message {
            InboundMessage::Message(message) => complete(message_decrypt_signal(
                message,
                &address,
                &mut session,
                &mut identity,
                rng,
            ))?,
            InboundMessage::Prekey(message) => {
                let (mut one_time, signed, mut kem) = prekeys.stores()?;
                let step = message_decrypt_prekey(
                    message,
                    &address,
                    &mut session,
                    &mut identity,
                    &mut one_time,
                    &signed,
                    &mut kem,
                    rng,
                );
                let plaintext = complete(step)?;
                let one_time = one_time
                    .record
                    .filter(|_| one_time.used)
                    .map(|(id, _)| id.into());
                used = kem.used.map(|used| Used { one_time, ..used });
                plaintext
            }
        };
        let plaintext = Zeroizing::new(plaintext.map_err(|error| inbound_error(&error))?);
        let session = session.0.map(Self).ok_or(SignalError::State)?;
        Ok(Decryption {
            plaintext,
            session,
            used,
        })
    }
}

impl Ends<'_> {
    fn address(&self) -> Result<ProtocolAddress, SignalError> {
        address(self.subject, self.device)
    }

    fn identity_step(&self) -> Result<IdentityStep, SignalError> {
        Ok(IdentityStep {
            local: self.local.key_pair()?,
            registration_id: self.local.registration_id(),
            remote: self.identity,
        })
    }
}

impl StepPrekeys {
    fn stores(&self) -> Result<(OneTimeStep, SignedStep, KemStep), SignalError> {
        let read = || -> Result<_, SignalProtocolError> {
            let one_time = match &self.one_time {
                Some(bytes) => {
                    let record = PreKeyRecord::deserialize(bytes)?;
                    Some((record.id()?, record))
                }
                None => None,
            };
            let signed = match &self.signed {
                Some(bytes) => {
                    let record = SignedPreKeyRecord::deserialize(bytes)?;
                    Some((record.id()?, record))
                }
                None => None,
            };
            let kem = match &self.kem {
                Some(bytes) => {
                    let record = KyberPreKeyRecord::deserialize(bytes)?;
                    Some((record.id()?, record))
                }
                None => None,
            };
            Ok((
                OneTimeStep {
                    record: one_time,
                    used: false,
                },
                SignedStep(signed),
                KemStep {
                    record: kem,
                    seen_before: self.seen_before,
                    used: None,
                },
            ))
        };
        read().map_err(|_| SignalError::State)
    }
}

/// Runs a step's future, which never waits: its stores are in memory, and thrown away when it fails.
fn complete<T>(step: impl Future<Output = T>) -> Result<T, SignalError> {
    guarded(|| step.now_or_never())?.ok_or(SignalError::State)
}

fn system_time(now: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(now.as_millis())
}
