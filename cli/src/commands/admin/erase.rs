//! `sealpost admin erase`: forgets a person. The person's phone number goes to the key vault and to the relay only;
//! retention and the stores work by the blind tag in the vault's receipt.

use anyhow::Context;
use clap::Args;
use sealpost_proto::relay::v1::ErasePeerRequest;
use sealpost_proto::retention::v1::ForgetSubjectRequest;
use sealpost_proto::vault::v1::EraseSubjectRequest;
use serde_json::{Value, json};

use super::access::{Access, failed};
use super::receipt::ReadReceipt;
use crate::output::Output;
use crate::suite::service::Service;

/// Erase everything between a number and a person: keys, sessions, records, queues. May be repeated
#[derive(Args)]
pub struct Erase {
    /// The number's id
    #[arg(long, value_name = "PHONE_NUMBER_ID")]
    number: String,
    /// The person's phone number, E.164 digits
    #[arg(long, value_name = "PHONE")]
    peer: String,
}

impl Erase {
    /// Does it: key first, so that nothing can be read even if a later step fails.
    pub async fn run(self, access: &Access, output: Output) -> anyhow::Result<()> {
        let peer = self.peer.trim_start_matches('+').to_owned();
        let request = EraseSubjectRequest {
            phone_number_id: self.number.clone(),
            peer: peer.clone(),
        };
        let erased = access
            .vault()?
            .erase_subject(request)
            .await
            .map_err(failed(Service::KeyVault))?
            .into_inner();

        let store_rows = match &erased.receipt {
            Some(receipt) => {
                let request = ForgetSubjectRequest {
                    receipt: Some(receipt.clone()),
                };
                access
                    .retention()?
                    .forget_subject(request)
                    .await
                    .map_err(failed(Service::Retention))
                    .context("the key is destroyed, rows may be left: run the same command again")?
                    .into_inner()
                    .store_rows_deleted
            }
            None => 0,
        };
        let request = ErasePeerRequest {
            phone_number_id: self.number.clone(),
            peer,
        };
        let relay_rows = access
            .relay()?
            .erase_peer(request)
            .await
            .map_err(failed(Service::Relay))
            .context(
                "the key is destroyed, queued messages may be left: run the same command again",
            )?
            .into_inner()
            .deleted;

        let receipt = erased.receipt.as_ref().map(ReadReceipt::new).transpose()?;
        let words = match &receipt {
            Some(receipt) => format!(
                "erased {} at {} ms; deleted {store_rows} rows in stores and {relay_rows} in the relay\n\
                 the receipt's signature is {}; keep it with `--json`, or see `sealpost admin retention receipts`",
                receipt.what(),
                receipt.destroyed_at_ms(),
                if receipt.is_signed() {
                    "good"
                } else {
                    "NOT good"
                },
            ),
            None => format!(
                "this number's vault knows no such person; deleted {relay_rows} rows in the relay"
            ),
        };
        output.say(
            &words,
            &json!({
                "receipt": receipt.as_ref().map_or(Value::Null, ReadReceipt::json),
                "store_rows_deleted": store_rows,
                "relay_rows_deleted": relay_rows,
            }),
        )?;
        anyhow::ensure!(
            receipt.is_none_or(|receipt| receipt.is_signed()),
            "the vault's receipt does not verify"
        );
        Ok(())
    }
}
