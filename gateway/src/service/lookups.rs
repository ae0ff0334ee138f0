//! Questions with one answer: a message's status, the caller's numbers, a number's vault key.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sealpost_proto::{
    gateway::v1::{
        GetMessageStatusRequest, GetMessageStatusResponse, GetVaultKeyRequest, GetVaultKeyResponse,
        ListNumbersResponse, NumberInfo,
    },
    record::v1::Direction,
    store::v1::GetRecordRequest,
    vault::v1::GetPublishedKeyRequest,
};
use sealpost_runtime::{Clock, Timestamp};

use crate::{
    authentication::Caller,
    ids::{MessageId, PhoneNumberId},
    peers::{CallError, Peers, called},
    record::status_of,
    status::Error,
};

/// How long a vault key is handed out again, by the clock that the vault's validity is by: it is published for an hour and good
/// for two.
const KEY_LIFE: Duration = Duration::from_secs(30);

/// Vault keys remembered.
const REMEMBERED: usize = 10_000;

/// What answers.
pub struct Lookups {
    peers: Arc<Peers>,
    clock: Clock,
    keys: Mutex<HashMap<PhoneNumberId, (Timestamp, GetVaultKeyResponse)>>,
}

impl Lookups {
    /// Asks `peers`.
    #[must_use]
    pub fn new(peers: Arc<Peers>, clock: Clock) -> Self {
        Self {
            peers,
            clock,
            keys: Mutex::default(),
        }
    }

    /// How far an outbound message is.
    ///
    /// # Errors
    /// When the number is not the caller's, there is no such message, or the store does not answer.
    pub async fn message_status(
        &self,
        caller: &Caller,
        request: GetMessageStatusRequest,
    ) -> Result<GetMessageStatusResponse, Error> {
        let (_, number) = caller.number(&request.phone_number_id)?;
        MessageId::parse(&request.message_id)
            .map_err(|_| Error::Malformed("message_id", "must be 16 bytes"))?;
        let store = self.peers.stores.of_region(&number.region);
        let request = GetRecordRequest {
            phone_number_id: request.phone_number_id,
            message_id: request.message_id,
            direction: Direction::Outbound.into(),
        };
        match called(store.client.clone().get_record(request)).await {
            Ok(found) => Ok(GetMessageStatusResponse {
                status: status_of(found.status()).into(),
                time_ms: found.status_at_ms,
                error_code: found.error_code,
            }),
            Err(CallError::NotFound) => Err(Error::NoSuchMessage),
            Err(CallError::Expired) => Err(Error::Expired),
            Err(CallError::Replaced | CallError::Unreachable(_)) => {
                Err(Error::Unreachable("store"))
            }
        }
    }

    /// The numbers that the caller may act for.
    #[must_use]
    pub fn numbers(caller: &Caller) -> ListNumbersResponse {
        let numbers = caller.numbers.iter().map(|(id, number)| NumberInfo {
            phone_number_id: id.into(),
            phone_number: number.phone_number.clone(),
            display_name: number.display_name.clone(),
            region: number.region.clone(),
        });
        ListNumbersResponse {
            numbers: numbers.collect(),
        }
    }

    /// The vault's HPKE key of a number.
    ///
    /// # Errors
    /// When the number is not the caller's or has no keys, or the vault does not answer.
    pub async fn vault_key(
        &self,
        caller: &Caller,
        request: &GetVaultKeyRequest,
    ) -> Result<GetVaultKeyResponse, Error> {
        let (number, _) = caller.number(&request.phone_number_id)?;
        if let Some(answer) = self.remembered(&number) {
            return Ok(answer);
        }
        let request = GetPublishedKeyRequest {
            phone_number_id: (&number).into(),
        };
        let answer = match called(self.peers.vault.client.clone().get_published_key(request)).await
        {
            Ok(answer) => GetVaultKeyResponse { key: answer.key },
            Err(CallError::NotFound) => return Err(Error::NotProvisioned),
            Err(CallError::Expired | CallError::Replaced | CallError::Unreachable(_)) => {
                return Err(Error::Unreachable("vault"));
            }
        };
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= REMEMBERED {
            keys.clear();
        }
        keys.insert(number, (self.clock.now(), answer.clone()));
        Ok(answer)
    }

    fn remembered(&self, number: &PhoneNumberId) -> Option<GetVaultKeyResponse> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, answer) = keys.get(number)?;
        let now = self.clock.now();
        (now >= *at && now.since(*at) < KEY_LIFE).then(|| answer.clone())
    }
}
