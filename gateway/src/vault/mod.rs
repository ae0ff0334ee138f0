//! The key vaults: several processes on one database, each the holder of some shards of the conversations.
//!
//! Owns which vault is asked. Admit, Encrypt and Decrypt go to the holder of the conversation's shard, as the vaults tell it;
//! everything else to any vault. Knows of content as little as the rest of the gateway. Invariant: what is asked of a vault that
//! has lost the shard, or whose answer is lost, is asked again of the holder, in the order of the conversation; and every call is one
//! that may be asked again.

mod admitting;
mod encrypting;
mod holders;
mod routed;
mod shard;
mod watch;

use std::{collections::BTreeMap, sync::Arc};

use sealpost_proto::vault::v1::{
    DecryptItem, DecryptOutcome, Refusal, decrypt_outcome::Outcome as Decrypted,
    key_vault_service_client::KeyVaultServiceClient,
};
use sealpost_runtime::batch::LaneError;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::{
    lanes::{AdmitHop, ConfirmHop, DecryptHop, DeliverHop, EncryptHop, Lane, growing, settings},
    peers::MAX_ANSWER_BYTES,
};

pub use admitting::{Admitting, AdmittingTicket};
use encrypting::Encrypting;
use holders::Holders;
use routed::{Asked, Routed};
use shard::Shard;

/// Channels to the vaults.
#[derive(Clone, Debug)]
pub struct VaultChannels {
    /// To whichever answers.
    pub any: Channel,
    /// To each, by the name under which it holds shards. Where there is one, its name does not matter.
    pub each: BTreeMap<String, Channel>,
}

/// The key vaults.
pub struct Vault {
    /// For single calls that any vault answers.
    pub client: KeyVaultServiceClient<Channel>,
    /// Accepts sealed messages.
    pub admit: Admitting,
    /// Encrypts records for devices.
    pub encrypt: Encrypting,
    /// Forgets pending records.
    pub confirm: Lane<ConfirmHop>,
    /// Seals records to the business.
    pub deliver: Lane<DeliverHop>,
    decrypt: Routed<DecryptHop>,
}

impl Vault {
    pub(crate) fn start(channels: VaultChannels, stop: &CancellationToken) -> Self {
        let client = client(channels.any);
        let holders = Arc::new(Holders::default());
        let (mut admit, mut encrypt, mut decrypt) =
            (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let several = channels.each.len() > 1;
        for (name, channel) in channels.each {
            let one = self::client(channel);
            if several {
                tokio::spawn(watch::follow(
                    name.clone(),
                    one.clone(),
                    holders.clone(),
                    stop.clone(),
                ));
            }
            let hop = AdmitHop(one.clone());
            admit.insert(
                name.clone(),
                Lane::start(hop, growing("admit"), stop.clone()),
            );
            let hop = EncryptHop(one.clone());
            encrypt.insert(
                name.clone(),
                Lane::start(hop, growing("encrypt"), stop.clone()),
            );
            let hop = DecryptHop(one);
            decrypt.insert(name, Lane::start(hop, settings("decrypt"), stop.clone()));
        }
        let encrypt = Encrypting::new(Routed::new(encrypt, holders.clone()));
        Self {
            admit: Admitting::start(&Routed::new(admit, holders.clone()), stop),
            encrypt,
            decrypt: Routed::new(decrypt, holders),
            confirm: Lane::start(
                ConfirmHop(client.clone()),
                settings("confirm"),
                stop.clone(),
            ),
            deliver: Lane::start(
                DeliverHop(client.clone()),
                settings("deliver"),
                stop.clone(),
            ),
            client,
        }
    }

    /// Decrypts a consumer's message.
    ///
    /// # Errors
    /// When no vault answers for a while.
    pub async fn decrypt(&self, item: DecryptItem) -> Result<DecryptOutcome, LaneError> {
        let shard = Shard::of(&item.phone_number_id, &item.peer);
        self.decrypt
            .call(Asked::Holder(shard), item, |answer| {
                (answer.outcome == Some(Decrypted::Refused(Refusal::ShardElsewhere.into())))
                    .then_some(shard)
            })
            .await
    }
}

fn client(channel: Channel) -> KeyVaultServiceClient<Channel> {
    KeyVaultServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES)
}
