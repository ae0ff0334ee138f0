//! `sealpost admin number remove` and `business remove`: keys first, then rows, the directory's entry last, so that a command that was
//! interrupted finds everything again.

use sealpost_proto::directory::v1::{DeleteBusinessRequest, DeleteNumberRequest};
use sealpost_proto::relay::v1::RemoveNumberRequest as RemoveFromRelay;
use sealpost_proto::retention::v1::ForgetNumberRequest;
use sealpost_proto::vault::v1::{Receipt, RemoveNumberRequest};
use serde_json::{Value, json};

use super::access::{Access, failed};
use super::receipt::ReadReceipt;
use super::whose::numbers_of;
use crate::output::Output;
use crate::suite::service::Service;

/// Rows that one call to the relay deletes at most.
const BATCH: u32 = 1_000;

/// What was removed of a number.
struct Removed {
    phone_number_id: String,
    /// Absent when the vault never had its keys.
    receipt: Option<Receipt>,
    store_rows: u64,
    relay_rows: u64,
}

/// Removes a number.
pub async fn number(access: &Access, output: Output, id: String) -> anyhow::Result<()> {
    say(output, &[remove(access, id).await?], None)
}

/// Removes a business with all its numbers and tokens.
pub async fn business(access: &Access, output: Output, id: String) -> anyhow::Result<()> {
    anyhow::ensure!(!id.is_empty(), "say which business");
    let mut removed = Vec::new();
    for number in numbers_of(access, &id).await? {
        removed.push(remove(access, number).await?);
    }
    access
        .directory()?
        .delete_business(DeleteBusinessRequest {
            business_id: id.clone(),
        })
        .await
        .map_err(failed(Service::Directory))?;
    say(output, &removed, Some(&id))
}

async fn remove(access: &Access, id: String) -> anyhow::Result<Removed> {
    let receipt = access
        .vault()?
        .remove_number(RemoveNumberRequest {
            phone_number_id: id.clone(),
        })
        .await
        .map_err(failed(Service::KeyVault))?
        .into_inner()
        .receipt;
    let store_rows = match &receipt {
        Some(_) => {
            let request = ForgetNumberRequest {
                receipt: receipt.clone(),
            };
            let forgotten = access.retention()?.forget_number(request).await;
            forgotten
                .map_err(failed(Service::Retention))?
                .into_inner()
                .store_rows_deleted
        }
        None => 0,
    };
    let relay_rows = remove_from_relay(access, &id).await?;
    access
        .directory()?
        .delete_number(DeleteNumberRequest {
            phone_number_id: id.clone(),
        })
        .await
        .map_err(failed(Service::Directory))?;
    Ok(Removed {
        phone_number_id: id,
        receipt,
        store_rows,
        relay_rows,
    })
}

/// The number with its public keys and what waits or is remembered, batch by batch; rows deleted.
async fn remove_from_relay(access: &Access, id: &str) -> anyhow::Result<u64> {
    let mut relay = access.relay()?;
    let mut rows = 0;
    loop {
        let request = RemoveFromRelay {
            phone_number_id: id.to_owned(),
            limit: BATCH,
        };
        let removed = relay
            .remove_number(request)
            .await
            .map_err(failed(Service::Relay))?
            .into_inner();
        rows += removed.deleted;
        if !removed.more {
            return Ok(rows);
        }
        anyhow::ensure!(
            removed.deleted > 0,
            "the relay deleted nothing and says that more is left; run the same command again"
        );
    }
}

fn say(output: Output, removed: &[Removed], business: Option<&str>) -> anyhow::Result<()> {
    let (mut words, mut all) = (Vec::new(), Vec::new());
    for number in removed {
        let receipt = number.receipt.as_ref().map(ReadReceipt::new).transpose()?;
        anyhow::ensure!(
            receipt.as_ref().is_none_or(ReadReceipt::is_signed),
            "the vault's receipt does not verify"
        );
        words.push(format!(
            "number {} is removed; {} rows in stores and {} in the relay deleted{}",
            number.phone_number_id,
            number.store_rows,
            number.relay_rows,
            if receipt.is_some() {
                ""
            } else {
                " (the vault had no keys of it)"
            }
        ));
        all.push(json!({
            "phone_number_id": number.phone_number_id,
            "receipt": receipt.as_ref().map_or(Value::Null, ReadReceipt::json),
            "store_rows_deleted": number.store_rows,
            "relay_rows_deleted": number.relay_rows,
        }));
    }
    if let Some(business) = business {
        words.push(format!("business {business} is removed"));
    }
    output.say(
        &words.join("\n"),
        &json!({"numbers": all, "business": business}),
    )
}
