//! Encrypt, where the gateway has a record and not whom it is for: the vault's answers say which shard a conversation is in.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use sealpost_proto::vault::v1::{EncryptItem, EncryptOutcome, Refusal, encrypt_outcome::Outcome};
use sealpost_runtime::batch::LaneError;

use super::{
    routed::{Asked, Routed},
    shard::Shard,
};
use crate::{
    ids::{PhoneNumberId, Tag},
    lanes::EncryptHop,
    record::Conversation,
};

/// Conversations whose shard is remembered.
const REMEMBERED: usize = 100_000;

/// The way to the vault that encrypts a record.
pub struct Encrypting {
    lanes: Routed<EncryptHop>,
    shards: Mutex<HashMap<Conversation, Shard>>,
}

impl Encrypting {
    pub(super) fn new(lanes: Routed<EncryptHop>) -> Self {
        Self {
            lanes,
            shards: Mutex::default(),
        }
    }

    /// Encrypts a record for devices.
    ///
    /// # Errors
    /// When no vault answers for a while.
    pub async fn call(&self, item: EncryptItem) -> Result<EncryptOutcome, LaneError> {
        let conversation = conversation(&item);
        let asked = match self.known(conversation.as_ref()) {
            Some(shard) => Asked::Holder(shard),
            None => Asked::Anybody,
        };
        let answer = self.lanes.call(asked, item, elsewhere).await?;
        if let (Some(conversation), Some(peer)) = (conversation, peer(&answer)) {
            let shard = Shard::of(conversation.0.as_str(), peer);
            let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
            if shards.len() >= REMEMBERED {
                shards.clear();
            }
            shards.insert(conversation, shard);
        }
        Ok(answer)
    }

    fn known(&self, conversation: Option<&Conversation>) -> Option<Shard> {
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        shards.get(conversation?).copied()
    }
}

fn conversation(item: &EncryptItem) -> Option<Conversation> {
    let record = item.record.as_ref()?;
    let number = PhoneNumberId::parse(&record.phone_number_id).ok()?;
    Some((number, Tag::parse(&record.tag).ok()?))
}

fn elsewhere(answer: &EncryptOutcome) -> Option<Shard> {
    let refused = answer.outcome == Some(Outcome::Refused(Refusal::ShardElsewhere.into()));
    Shard::new(answer.shard).filter(|_| refused)
}

fn peer(answer: &EncryptOutcome) -> Option<&str> {
    match answer.outcome.as_ref()? {
        Outcome::Encrypted(encrypted) => Some(&encrypted.peer),
        Outcome::SessionRequired(required) => Some(&required.peer),
        Outcome::Refused(_) => None,
    }
}
