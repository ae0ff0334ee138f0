//! libsignal's five stores for one step with one peer.
//!
//! They read the draft and collect what the step writes, apart from each other because libsignal borrows each on its own. None of
//! their futures ever waits.

use async_trait::async_trait;
use libsignal_protocol::{
    CiphertextMessageType, Direction, GenericSignedPreKey, IdentityChange, IdentityKey,
    IdentityKeyPair, IdentityKeyStore, KyberPreKeyId, KyberPreKeyRecord, KyberPreKeyStore,
    PreKeyId, PreKeyRecord, PreKeyStore, ProtocolAddress, PublicKey, SessionRecord, SessionStore,
    SignalProtocolError, SignedPreKeyId, SignedPreKeyRecord, SignedPreKeyStore,
};

use super::draft::Draft;
use crate::state::PrekeyKind;

type Result<T> = std::result::Result<T, SignalProtocolError>;

fn read_only<T>() -> Result<T> {
    Err(SignalProtocolError::InvalidState(
        "a step",
        "only reads here".into(),
    ))
}

/// The session with the peer.
pub(super) struct Session {
    pub(super) before: Option<SessionRecord>,
    pub(super) after: Option<SessionRecord>,
}

#[async_trait(?Send)]
impl SessionStore for Session {
    async fn load_session(&self, _: &ProtocolAddress) -> Result<Option<SessionRecord>> {
        Ok(self.after.as_ref().or(self.before.as_ref()).cloned())
    }

    async fn store_session(&mut self, _: &ProtocolAddress, record: &SessionRecord) -> Result<()> {
        self.after = Some(record.clone());
        Ok(())
    }
}

/// Our identity and the peer's. Every key is trusted here: the draft pins, and the caller has dropped the session of a changed one.
pub(super) struct Identity {
    pub(super) own: IdentityKeyPair,
    pub(super) registration_id: u32,
    pub(super) peer: Option<IdentityKey>,
}

#[async_trait(?Send)]
impl IdentityKeyStore for Identity {
    async fn get_identity_key_pair(&self) -> Result<IdentityKeyPair> {
        Ok(self.own)
    }

    async fn get_local_registration_id(&self) -> Result<u32> {
        Ok(self.registration_id)
    }

    async fn save_identity(
        &mut self,
        _: &ProtocolAddress,
        identity: &IdentityKey,
    ) -> Result<IdentityChange> {
        let changed = self.peer.is_some_and(|peer| peer != *identity);
        self.peer = Some(*identity);
        Ok(IdentityChange::from_changed(changed))
    }

    async fn is_trusted_identity(
        &self,
        _: &ProtocolAddress,
        _: &IdentityKey,
        _: Direction,
    ) -> Result<bool> {
        Ok(true)
    }

    async fn get_identity(&self, _: &ProtocolAddress) -> Result<Option<IdentityKey>> {
        Ok(self.peer)
    }
}

/// One-time prekeys.
pub(super) struct OneTime<'a, 'm> {
    pub(super) draft: &'a Draft<'m>,
    pub(super) spent: Option<u32>,
}

#[async_trait(?Send)]
impl PreKeyStore for OneTime<'_, '_> {
    async fn get_pre_key(&self, id: PreKeyId) -> Result<PreKeyRecord> {
        let record = self.draft.prekey(PrekeyKind::OneTime, id.into());
        PreKeyRecord::deserialize(record.ok_or(SignalProtocolError::InvalidPreKeyId)?)
    }

    async fn save_pre_key(&mut self, _: PreKeyId, _: &PreKeyRecord) -> Result<()> {
        read_only()
    }

    async fn remove_pre_key(&mut self, id: PreKeyId) -> Result<()> {
        self.spent = Some(id.into());
        Ok(())
    }
}

/// Signed prekeys.
pub(super) struct Signed<'a, 'm>(pub(super) &'a Draft<'m>);

#[async_trait(?Send)]
impl SignedPreKeyStore for Signed<'_, '_> {
    async fn get_signed_pre_key(&self, id: SignedPreKeyId) -> Result<SignedPreKeyRecord> {
        let record = self.0.prekey(PrekeyKind::Signed, id.into());
        SignedPreKeyRecord::deserialize(record.ok_or(SignalProtocolError::InvalidSignedPreKeyId)?)
    }

    async fn save_signed_pre_key(
        &mut self,
        _: SignedPreKeyId,
        _: &SignedPreKeyRecord,
    ) -> Result<()> {
        read_only()
    }
}

/// KEM prekeys: a one-time one is spent by its use, the last-resort one remembers the base keys it was used with.
pub(super) struct Kem<'a, 'm> {
    pub(super) draft: &'a Draft<'m>,
    pub(super) spent: Option<u32>,
    pub(super) base_key: Option<(u32, u32, [u8; 33])>,
}

#[async_trait(?Send)]
impl KyberPreKeyStore for Kem<'_, '_> {
    async fn get_kyber_pre_key(&self, id: KyberPreKeyId) -> Result<KyberPreKeyRecord> {
        let id = id.into();
        let record = self
            .draft
            .prekey(PrekeyKind::Kem, id)
            .or_else(|| self.draft.prekey(PrekeyKind::LastResortKem, id));
        KyberPreKeyRecord::deserialize(record.ok_or(SignalProtocolError::InvalidKyberPreKeyId)?)
    }

    async fn save_kyber_pre_key(&mut self, _: KyberPreKeyId, _: &KyberPreKeyRecord) -> Result<()> {
        read_only()
    }

    async fn mark_kyber_pre_key_used(
        &mut self,
        id: KyberPreKeyId,
        signed: SignedPreKeyId,
        base_key: &PublicKey,
    ) -> Result<()> {
        let id = id.into();
        if self.draft.prekey(PrekeyKind::Kem, id).is_some() {
            self.spent = Some(id);
            return Ok(());
        }
        let mut bytes = [0; 33];
        bytes.copy_from_slice(&base_key.serialize());
        let used = (id, signed.into(), bytes);
        if self.draft.base_key_seen(&used) {
            return Err(SignalProtocolError::InvalidMessage(
                CiphertextMessageType::PreKey,
                "base key used before",
            ));
        }
        self.base_key = Some(used);
        Ok(())
    }
}
