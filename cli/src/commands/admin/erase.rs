//! `sealpost admin erase`: forgets a person. The person's phone number goes to the key vault and to the relay only;
//! retention and the stores work by the blind tag in the vault's receipt.

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use prost::Message;
use sealpost_proto::relay::v1::ErasePeerRequest;
use sealpost_proto::retention::v1::{ForgetSubjectRequest, ListReceiptsRequest};
use sealpost_proto::vault::v1::{EraseSubjectRequest, Receipt};
use serde_json::{Value, json};

use super::access::{Access, failed};
use super::receipt::ReadReceipt;
use crate::output::Output;
use crate::suite::service::Service;

/// Erase everything between a number and a person: keys, sessions, records, queues
#[derive(Args)]
pub struct Erase {
    /// The number's id
    #[arg(long, value_name = "PHONE_NUMBER_ID")]
    number: String,
    /// The person's phone number, E.164 digits
    #[arg(long, value_name = "PHONE")]
    peer: String,
    /// Finish an erasure whose first step was done: the vault's receipt, as the failed command printed it
    #[arg(long, value_parser = read_receipt)]
    receipt: Option<Receipt>,
}

impl Erase {
    /// Does it: the key first, so that nothing can be read even if a later step fails. The vault gives its receipt again for a
    /// day; when a later step fails, the error carries it for longer than that.
    pub async fn run(self, access: &Access, output: Output) -> anyhow::Result<()> {
        let peer = self.peer.trim_start_matches('+').to_owned();
        let receipt = match self.receipt.clone() {
            Some(receipt) => Some(receipt),
            None => {
                self.look_before(access).await?;
                erase_key(access, &self.number, &peer).await?
            }
        };
        let again = || match &receipt {
            Some(receipt) => format!(
                "the key is destroyed; finish with the same command and --receipt {}",
                write_receipt(receipt)
            ),
            None => "run the same command again".to_owned(),
        };
        let store_rows = match &receipt {
            Some(receipt) => forget(access, receipt).await.with_context(again)?,
            None => 0,
        };
        let relay_rows = erase_queue(access, &self.number, peer)
            .await
            .with_context(again)?;
        say(output, receipt.as_ref(), store_rows, relay_rows)
    }

    /// Whether the services of the later steps answer: better to learn it before the first.
    async fn look_before(&self, access: &Access) -> anyhow::Result<()> {
        access.address(Service::Relay)?;
        let request = ListReceiptsRequest {
            page_size: 1,
            before: 0,
        };
        access
            .retention()?
            .list_receipts(request)
            .await
            .map_err(failed(Service::Retention))
            .context("nothing was erased")?;
        Ok(())
    }
}

async fn erase_key(access: &Access, number: &str, peer: &str) -> anyhow::Result<Option<Receipt>> {
    let request = EraseSubjectRequest {
        phone_number_id: number.to_owned(),
        peer: peer.to_owned(),
    };
    let erased = access
        .vault()?
        .erase_subject(request)
        .await
        .map_err(failed(Service::KeyVault))?;
    Ok(erased.into_inner().receipt)
}

/// Answers how many rows the stores deleted.
async fn forget(access: &Access, receipt: &Receipt) -> anyhow::Result<u64> {
    let request = ForgetSubjectRequest {
        receipt: Some(receipt.clone()),
    };
    let forgotten = access
        .retention()?
        .forget_subject(request)
        .await
        .map_err(failed(Service::Retention))?;
    Ok(forgotten.into_inner().store_rows_deleted)
}

/// Answers how many rows the relay deleted.
async fn erase_queue(access: &Access, number: &str, peer: String) -> anyhow::Result<u64> {
    let request = ErasePeerRequest {
        phone_number_id: number.to_owned(),
        peer,
        dry_run: false,
    };
    let erased = access
        .relay()?
        .erase_peer(request)
        .await
        .map_err(failed(Service::Relay))?;
    Ok(erased.into_inner().deleted)
}

fn say(
    output: Output,
    receipt: Option<&Receipt>,
    store_rows: u64,
    relay_rows: u64,
) -> anyhow::Result<()> {
    let receipt = receipt.map(ReadReceipt::new).transpose()?;
    let words = match &receipt {
        Some(receipt) => format!(
            "erased {} at {} ms; deleted {store_rows} rows in stores and {relay_rows} in the relay\n\
             the receipt's signature is {}; `sealpost admin retention receipts` lists it",
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

fn write_receipt(receipt: &Receipt) -> String {
    URL_SAFE_NO_PAD.encode(receipt.encode_to_vec())
}

fn read_receipt(text: &str) -> Result<Receipt, String> {
    let bytes = URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| "that is no receipt")?;
    let receipt = Receipt::decode(bytes.as_slice()).map_err(|_| "that is no receipt")?;
    ReadReceipt::new(&receipt).map_err(|error| error.to_string())?;
    Ok(receipt)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sealpost_proto::vault::v1::ReceiptStatement;

    use super::*;

    #[test]
    fn a_receipt_survives_its_text_and_other_texts_are_none() {
        let statement = ReceiptStatement {
            domain: "sealpost/receipt/v1".to_owned(),
            destroyed: None,
            destroyed_at_ms: 5,
        };
        let receipt = Receipt {
            statement: statement.encode_to_vec().into(),
            signature: vec![1; 64].into(),
            verification_key: vec![2; 32].into(),
        };
        assert_eq!(read_receipt(&write_receipt(&receipt)), Ok(receipt));
        for text in ["", "!", "AAAA"] {
            assert!(read_receipt(text).is_err(), "{text}");
        }
    }
}
