//! Keeping the vault's receipts: of epochs, erased persons and removed numbers, whoever had them destroyed.
//!
//! Invariant: what is not kept yet is asked for again. The vault answers a receipt as often as it is asked, so a crash between its
//! answer and our transaction loses none.

use sealpost_proto::vault::v1::Receipt;

use super::Inner;
use crate::{
    error::RetentionError,
    findings::{Failure, Findings},
    receipt::Destroyed,
};

/// Receipts that one call answers.
const PAGE: u32 = 500;

impl Inner {
    /// Keeps the receipts of epochs that were destroyed for us.
    pub(super) async fn keep_destroyed(&self, receipts: Vec<Receipt>, findings: &mut Findings) {
        for receipt in receipts {
            if let Some(Destroyed::Epoch(epoch)) = self.keep(receipt, findings).await {
                findings.epochs.push(epoch);
            }
        }
    }

    /// Fetches and keeps what is new.
    pub(super) async fn collect(&self, findings: &mut Findings) {
        loop {
            let Ok(after) = self.datastore.collected().await else {
                return findings.fail(Failure::Database);
            };
            let page = match self.peers.receipts(after, PAGE).await {
                Ok(page) => page,
                Err(status) => return findings.fail(Failure::of_vault(&status)),
            };
            let Some(last) = page.last().map(|receipt| receipt.serial) else {
                return;
            };
            let is_full = page.len() >= PAGE as usize;
            let mut all_kept = true;
            for receipt in page.into_iter().filter_map(|listed| listed.receipt) {
                all_kept &= self.keep(receipt, findings).await.is_some();
            }
            // What was not believed is looked at again when somebody has set that right; what came after it waits with it.
            if !all_kept {
                return;
            }
            if self.datastore.collected_to(last).await.is_err() {
                return findings.fail(Failure::Database);
            }
            if !is_full {
                return;
            }
        }
    }

    /// Answers what a receipt is of, once it is kept.
    async fn keep(&self, receipt: Receipt, findings: &mut Findings) -> Option<Destroyed> {
        match self.datastore.receipt_keep(receipt, self.clock.now()).await {
            Ok((_, verified)) => Some(verified.destroyed().clone()),
            Err(RetentionError::Receipt(_)) => {
                tracing::error!(reason = "RECEIPT_INVALID", "a receipt was not believed");
                findings.fail(Failure::ReceiptInvalid);
                None
            }
            Err(_) => {
                findings.fail(Failure::Database);
                None
            }
        }
    }
}
