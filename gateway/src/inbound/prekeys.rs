//! A number's one-time prekeys run out at the relay: the vault makes more.

use sealpost_proto::{
    relay::v1::{PrekeysLow, UploadNumberPrekeysRequest},
    vault::v1::ReplenishPrekeysRequest,
};

use super::{Context, Handled};
use crate::{
    ids::PhoneNumberId,
    peers::{CallError, called},
};

/// How many of each kind the relay should have again.
const WANTED: u32 = 100;

pub(super) async fn handle(context: &Context, number: &PhoneNumberId, low: PrekeysLow) -> Handled {
    let request = ReplenishPrekeysRequest {
        phone_number_id: number.into(),
        one_time_prekeys: WANTED.saturating_sub(low.one_time_prekeys),
        kem_prekeys: WANTED.saturating_sub(low.kem_prekeys),
    };
    let mut vault = context.peers.vault.client.clone();
    let upload = match called(vault.replenish_prekeys(request)).await {
        Ok(answer) => answer.upload,
        Err(CallError::NotFound) => return Handled::Done("number_unknown"),
        Err(CallError::Expired | CallError::Replaced | CallError::Unreachable(_)) => {
            return Handled::Again("vault");
        }
    };
    let request = UploadNumberPrekeysRequest {
        phone_number_id: number.into(),
        upload,
    };
    let mut relay = context.peers.relay.client.clone();
    match called(relay.upload_number_prekeys(request)).await {
        Ok(_) => Handled::Done("replenished"),
        Err(CallError::NotFound) => Handled::Done("number_unknown"),
        Err(CallError::Expired | CallError::Replaced | CallError::Unreachable(_)) => {
            Handled::Again("relay")
        }
    }
}
