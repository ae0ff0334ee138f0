//! `sealpost admin erase`: forgets a person. The person's phone number goes to the key vault and to the relay only;
//! retention and the stores work by the blind tags in the vault's receipts.

use clap::Args;
use sealpost_proto::relay::v1::{ErasePeerRequest, RemoveConsumerRequest};
use sealpost_proto::retention::v1::{ForgetSubjectRequest, ListReceiptsRequest};
use sealpost_proto::vault::v1::{ErasePersonRequest, ErasePersonResponse, Receipt};
use serde_json::{Value, json};

use super::access::{Access, failed};
use super::receipt::ReadReceipt;
use super::whose::Whose;
use crate::output::Output;
use crate::suite::service::Service;

/// Numbers that one call to the vault names at most.
const AT_ONCE: usize = 256;

/// Erase a person: keys, sessions, records and queues at one number, a business's, or all; with all goes the registration at the relay
#[derive(Args)]
pub struct Erase {
    #[command(flatten)]
    whose: Whose,
}

/// What was done, and what was not.
#[derive(Default)]
struct Done {
    /// One over the numbers of each call.
    receipts: Vec<Receipt>,
    /// One for each number that knew the person.
    subjects: Vec<Receipt>,
    store_rows: u64,
    relay_rows: u64,
    /// Why something is left.
    left: Vec<String>,
}

impl Erase {
    /// Does it: the keys first, so that nothing can be read even if a later step fails. Every step may be repeated: the vault
    /// tells for a day what it has erased, and retention deletes by the vault's receipts though nobody asks again.
    pub async fn run(self, access: &Access, output: Output) -> anyhow::Result<()> {
        let numbers = self.whose.numbers(access).await?;
        look_before(access).await?;
        let mut done = Done::default();
        for numbers in numbers.chunks(AT_ONCE) {
            match erase_keys(access, numbers, self.whose.phone()).await {
                Ok(erased) => {
                    done.receipts.extend(erased.receipt);
                    done.subjects.extend(erased.subjects);
                }
                Err(error) => done.left.push(format!("key vault: {error}")),
            }
        }
        for receipt in &done.subjects {
            match forget(access, receipt).await {
                Ok(rows) => done.store_rows += rows,
                Err(error) => done.left.push(format!("stores: {error}")),
            }
        }
        if self.whose.is_everywhere() {
            match remove_consumer(access, self.whose.phone()).await {
                Ok(rows) => done.relay_rows += rows,
                Err(error) => done.left.push(format!("relay: {error}")),
            }
        } else {
            for number in &numbers {
                match erase_queue(access, number, self.whose.phone()).await {
                    Ok(rows) => done.relay_rows += rows,
                    Err(error) => done.left.push(format!("relay, number {number}: {error}")),
                }
            }
        }
        done.say(output)
    }
}

impl Done {
    fn say(&self, output: Output) -> anyhow::Result<()> {
        let receipts: Vec<_> = self
            .receipts
            .iter()
            .map(ReadReceipt::new)
            .collect::<Result<_, _>>()?;
        let subjects: Vec<_> = self
            .subjects
            .iter()
            .map(ReadReceipt::new)
            .collect::<Result<_, _>>()?;
        let mut words = format!(
            "deleted {} rows in stores and {} in the relay",
            self.store_rows, self.relay_rows
        );
        for receipt in receipts.iter().chain(&subjects) {
            words.push_str(&format!(
                "\nerased {} at {} ms; the receipt's signature is {}",
                receipt.what(),
                receipt.destroyed_at_ms(),
                if receipt.is_signed() {
                    "good"
                } else {
                    "NOT good"
                }
            ));
        }
        if subjects.is_empty() {
            words.push_str("\nthe vault knows no such person there");
        }
        let json =
            |read: &[ReadReceipt<'_>]| read.iter().map(ReadReceipt::json).collect::<Vec<Value>>();
        output.say(
            &words,
            &json!({
                "receipts": json(&receipts),
                "subjects": json(&subjects),
                "store_rows_deleted": self.store_rows,
                "relay_rows_deleted": self.relay_rows,
                "left": self.left,
            }),
        )?;
        anyhow::ensure!(
            receipts.iter().chain(&subjects).all(ReadReceipt::is_signed),
            "a receipt of the vault's does not verify"
        );
        anyhow::ensure!(
            self.left.is_empty(),
            "something is left; run the same command again: {}",
            self.left.join("; ")
        );
        Ok(())
    }
}

/// Whether the services of the later steps answer: better to learn it before the first.
async fn look_before(access: &Access) -> anyhow::Result<()> {
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
        .map_err(|error| error.context("nothing was erased"))?;
    Ok(())
}

async fn erase_keys(
    access: &Access,
    numbers: &[String],
    phone: &str,
) -> anyhow::Result<ErasePersonResponse> {
    let request = ErasePersonRequest {
        peer: phone.to_owned(),
        phone_number_ids: numbers.to_vec(),
    };
    let erased = access
        .vault()?
        .erase_person(request)
        .await
        .map_err(failed(Service::KeyVault))?;
    Ok(erased.into_inner())
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

/// What the relay has of the person with any number, and the registration: a device of theirs has to register anew. Answers how
/// many rows it deleted.
async fn remove_consumer(access: &Access, phone: &str) -> anyhow::Result<u64> {
    let request = RemoveConsumerRequest {
        peer: phone.to_owned(),
    };
    let removed = access
        .relay()?
        .remove_consumer(request)
        .await
        .map_err(failed(Service::Relay))?;
    Ok(removed.into_inner().deleted)
}

/// Answers how many rows the relay deleted.
async fn erase_queue(access: &Access, number: &str, phone: &str) -> anyhow::Result<u64> {
    let request = ErasePeerRequest {
        phone_number_id: number.to_owned(),
        peer: phone.to_owned(),
        dry_run: false,
    };
    let erased = access
        .relay()?
        .erase_peer(request)
        .await
        .map_err(failed(Service::Relay))?;
    Ok(erased.into_inner().deleted)
}
