//! libsignal's store traits over what one step was given.
//!
//! Each store holds the few records that its step may touch, and afterwards what became of them. None blocks, so a step's
//! future is complete at its first poll.

use std::sync::Arc;

use async_trait::async_trait;
use libsignal_protocol::{
    Direction, IdentityChange, IdentityKey, IdentityKeyPair, IdentityKeyStore, KyberPreKeyId,
    KyberPreKeyRecord, KyberPreKeyStore, PreKeyId, PreKeyRecord, PreKeyStore, ProtocolAddress,
    PublicKey, SessionRecord, SessionStore, SignalProtocolError, SignedPreKeyId,
    SignedPreKeyRecord, SignedPreKeyStore,
};

use super::Used;

type Result<T> = std::result::Result<T, SignalProtocolError>;

/// Our identity, and the only remote identity that this step may meet.
pub(super) struct IdentityStep {
    pub(super) local: IdentityKeyPair,
    pub(super) registration_id: u32,
    pub(super) remote: IdentityKey,
}

#[async_trait(?Send)]
impl IdentityKeyStore for IdentityStep {
    async fn get_identity_key_pair(&self) -> Result<IdentityKeyPair> {
        Ok(self.local)
    }

    async fn get_local_registration_id(&self) -> Result<u32> {
        Ok(self.registration_id)
    }

    async fn save_identity(
        &mut self,
        _address: &ProtocolAddress,
        _identity: &IdentityKey,
    ) -> Result<IdentityChange> {
        // The subject keeps the pin; here it was the expected key or the step has failed.
        Ok(IdentityChange::NewOrUnchanged)
    }

    async fn is_trusted_identity(
        &self,
        _address: &ProtocolAddress,
        identity: &IdentityKey,
        _direction: Direction,
    ) -> Result<bool> {
        Ok(*identity == self.remote)
    }

    async fn get_identity(&self, _address: &ProtocolAddress) -> Result<Option<IdentityKey>> {
        Ok(Some(self.remote))
    }
}

/// The session with the one device that this step is about.
pub(super) struct SessionStep(pub(super) Option<Arc<SessionRecord>>);

#[async_trait(?Send)]
impl SessionStore for SessionStep {
    async fn load_session(&self, _address: &ProtocolAddress) -> Result<Option<SessionRecord>> {
        Ok(self.0.as_deref().cloned())
    }

    async fn store_session(
        &mut self,
        _address: &ProtocolAddress,
        record: &SessionRecord,
    ) -> Result<()> {
        self.0 = Some(Arc::new(record.clone()));
        Ok(())
    }
}

/// The one-time prekey that a message names.
#[derive(Default)]
pub(super) struct OneTimeStep {
    pub(super) record: Option<(PreKeyId, PreKeyRecord)>,
    pub(super) used: bool,
}

#[async_trait(?Send)]
impl PreKeyStore for OneTimeStep {
    async fn get_pre_key(&self, id: PreKeyId) -> Result<PreKeyRecord> {
        match &self.record {
            Some((ours, record)) if *ours == id => Ok(record.clone()),
            _ => Err(SignalProtocolError::InvalidPreKeyId),
        }
    }

    async fn save_pre_key(&mut self, _id: PreKeyId, _record: &PreKeyRecord) -> Result<()> {
        Err(SignalProtocolError::InvalidPreKeyId)
    }

    async fn remove_pre_key(&mut self, _id: PreKeyId) -> Result<()> {
        self.used = true;
        Ok(())
    }
}

/// The signed prekey that a message names.
pub(super) struct SignedStep(pub(super) Option<(SignedPreKeyId, SignedPreKeyRecord)>);

#[async_trait(?Send)]
impl SignedPreKeyStore for SignedStep {
    async fn get_signed_pre_key(&self, id: SignedPreKeyId) -> Result<SignedPreKeyRecord> {
        match &self.0 {
            Some((ours, record)) if *ours == id => Ok(record.clone()),
            _ => Err(SignalProtocolError::InvalidSignedPreKeyId),
        }
    }

    async fn save_signed_pre_key(
        &mut self,
        _id: SignedPreKeyId,
        _record: &SignedPreKeyRecord,
    ) -> Result<()> {
        Err(SignalProtocolError::InvalidSignedPreKeyId)
    }
}

/// The KEM prekey that a message names.
pub(super) struct KemStep {
    pub(super) record: Option<(KyberPreKeyId, KyberPreKeyRecord)>,
    /// This base key met this pair of prekeys before.
    pub(super) seen_before: bool,
    pub(super) used: Option<Used>,
}

#[async_trait(?Send)]
impl KyberPreKeyStore for KemStep {
    async fn get_kyber_pre_key(&self, id: KyberPreKeyId) -> Result<KyberPreKeyRecord> {
        match &self.record {
            Some((ours, record)) if *ours == id => Ok(record.clone()),
            _ => Err(SignalProtocolError::InvalidKyberPreKeyId),
        }
    }

    async fn save_kyber_pre_key(
        &mut self,
        _id: KyberPreKeyId,
        _record: &KyberPreKeyRecord,
    ) -> Result<()> {
        Err(SignalProtocolError::InvalidKyberPreKeyId)
    }

    async fn mark_kyber_pre_key_used(
        &mut self,
        kem: KyberPreKeyId,
        signed: SignedPreKeyId,
        base_key: &PublicKey,
    ) -> Result<()> {
        if self.seen_before {
            return Err(SignalProtocolError::InvalidKyberPreKeyId);
        }
        self.used = Some(Used {
            kem: kem.into(),
            signed: signed.into(),
            base_key: base_key.serialize(),
            one_time: None,
        });
        Ok(())
    }
}
