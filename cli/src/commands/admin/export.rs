//! `sealpost admin export`: a person's records, both ways, in a file that only the business can open.
//!
//! The vault seals each record to the number's business; this machine sees ciphertext alone. The file names no person.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use sealpost_proto::record::v1::Direction;
use sealpost_proto::store::v1::{KeptRecord, ListSubjectRequest, MessageStatus};
use sealpost_proto::vault::v1::{
    ExportSubjectRequest, ExportSubjectResponse, FindSubjectRequest, Refusal, export_outcome,
};
use serde_json::{Value, json};

use super::access::{Access, failed};
use super::whose::Whose;
use crate::output::Output;
use crate::suite::service::Service;

/// Records that one call lists at most; the vault takes as many.
const PAGE: u32 = 256;

/// Export a person's messages, sealed to the business
#[derive(Args)]
pub struct Export {
    #[command(flatten)]
    whose: Whose,
    /// The file to make
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// What went into the file, and what could not.
#[derive(Default)]
struct Count {
    numbers: usize,
    records: usize,
    refused: Vec<Refusal>,
}

impl Export {
    /// Does it.
    pub async fn run(self, access: &Access, output: Output) -> anyhow::Result<()> {
        let numbers = self.whose.numbers(access).await?;
        let mut file = create(&self.out)?;
        let mut count = Count::default();
        for number in &numbers {
            let Some(tag) = find(access, number, self.whose.phone()).await? else {
                continue;
            };
            count.numbers += 1;
            // Replicas of a store give the same.
            let mut known = HashSet::new();
            for direction in [Direction::Outbound, Direction::Inbound] {
                for mut store in access.stores()? {
                    let mut after = Vec::new();
                    loop {
                        let request = ListSubjectRequest {
                            phone_number_id: number.clone(),
                            tag: tag.clone().into(),
                            direction: direction.into(),
                            after: after.clone().into(),
                            limit: PAGE,
                        };
                        let page = store
                            .list_subject(request)
                            .await
                            .map_err(failed(Service::Store))?
                            .into_inner()
                            .records;
                        let Some(last) = page.last().and_then(|kept| kept.record.as_ref()) else {
                            break;
                        };
                        after = last.message_id.to_vec();
                        let mut page = page;
                        page.retain(|kept| {
                            let id = kept.record.as_ref().map(|record| record.message_id.clone());
                            known.insert((direction, id))
                        });
                        if page.is_empty() {
                            continue;
                        }
                        let sheet = self.sheet(access, number, page, &mut count).await?;
                        writeln!(file, "{sheet}").context("the file cannot be written")?;
                    }
                }
            }
        }
        file.sync_all().context("the file cannot be written")?;
        let refused: Vec<_> = count.refused.iter().map(Refusal::as_str_name).collect();
        output.say(
            &format!(
                "{} messages with the person at {} numbers are in {}, sealed to the business; `sealpost-connector --open-export` \
                 opens it there{}",
                count.records,
                count.numbers,
                self.out.display(),
                if refused.is_empty() {
                    String::new()
                } else {
                    format!("; {} could not be exported: {}", refused.len(), refused.join(", "))
                }
            ),
            &json!({
                "file": self.out,
                "numbers": count.numbers,
                "records": count.records,
                "refused": refused,
            }),
        )
    }

    /// A line of the file: a page of records, sealed under one key.
    async fn sheet(
        &self,
        access: &Access,
        number: &str,
        page: Vec<KeptRecord>,
        count: &mut Count,
    ) -> anyhow::Result<Value> {
        let request = ExportSubjectRequest {
            phone_number_id: number.to_owned(),
            peer: self.whose.phone().to_owned(),
            records: page.iter().filter_map(|kept| kept.record.clone()).collect(),
        };
        let ExportSubjectResponse {
            wrap,
            outcomes,
            vault_signing_public_key,
        } = access
            .vault()?
            .export_subject(request)
            .await
            .map_err(failed(Service::KeyVault))?
            .into_inner();
        let mut records = Vec::new();
        for (kept, outcome) in page.iter().zip(outcomes) {
            match outcome.outcome.context("the vault gave no outcome")? {
                export_outcome::Outcome::Sealed(sealed) => records.push(json!({
                    "sealed": STANDARD.encode(&sealed),
                    "status": status(kept.status()),
                    "kept_at_ms": kept.appended_at_ms,
                })),
                export_outcome::Outcome::Refused(refusal) => {
                    count.refused.push(refusal.try_into().unwrap_or_default());
                }
            }
        }
        count.records += records.len();
        Ok(json!({
            "sealpost_export": 1,
            "phone_number_id": number,
            "vault_signing_public_key": hex::encode(&vault_signing_public_key),
            "wrap": STANDARD.encode(&wrap),
            "records": records,
        }))
    }
}

async fn find(access: &Access, number: &str, phone: &str) -> anyhow::Result<Option<Vec<u8>>> {
    let request = FindSubjectRequest {
        phone_number_id: number.to_owned(),
        peer: phone.to_owned(),
    };
    let found = access.vault()?.find_subject(request).await;
    let tag = match found {
        Ok(found) => found.into_inner().tag,
        // In the directory, and not in the vault yet.
        Err(status) if status.code() == tonic::Code::NotFound => return Ok(None),
        Err(status) => return Err(failed(Service::KeyVault)(status)),
    };
    Ok((!tag.is_empty()).then(|| tag.to_vec()))
}

fn create(path: &Path) -> anyhow::Result<std::fs::File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("{} cannot be made", path.display()))
}

fn status(status: MessageStatus) -> Option<&'static str> {
    match status {
        MessageStatus::Unspecified => None,
        MessageStatus::Accepted => Some("accepted"),
        MessageStatus::Sent => Some("sent"),
        MessageStatus::Delivered => Some("delivered"),
        MessageStatus::Read => Some("read"),
        MessageStatus::Failed => Some("failed"),
    }
}
