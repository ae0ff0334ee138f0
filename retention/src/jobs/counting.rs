//! The dry run: what would go, and nothing changed.

use super::{Inner, PAGE, tally, tally_relay};
use crate::{
    error::RetentionError,
    findings::{Failure, Findings},
    receipt::{Destroyed, Epoch, Statement},
};

impl Inner {
    /// A dry run. Counts of one epoch or relay end at what one call counts.
    pub(super) async fn count(&self, findings: &mut Findings) {
        let receipts = match self.peers.destroy_expired(true).await {
            Ok(receipts) => receipts,
            Err(status) => {
                findings.fail(Failure::of_vault(&status));
                Vec::new()
            }
        };
        let mut epochs = Vec::new();
        for receipt in &receipts {
            match Statement::parse(&receipt.statement) {
                Ok(Statement {
                    destroyed: Destroyed::Epoch(epoch),
                    ..
                }) => epochs.push(epoch),
                _ => findings.fail(Failure::ReceiptInvalid),
            }
        }
        findings.epochs.clone_from(&epochs);
        match self.open_epochs().await {
            Ok(open) => epochs.extend(open),
            Err(_) => findings.fail(Failure::Database),
        }
        for (at, store) in self.peers.stores.iter().enumerate() {
            let counted = self.deletion().count_epochs(store, &epochs).await;
            tally(&self.store_name(at), &counted, findings);
        }
        for (at, relay) in self.peers.relays.iter().enumerate() {
            let counted = self.deletion().count_expired(relay).await;
            tally_relay(&self.relay_name(at), &counted, findings);
        }
    }

    async fn open_epochs(&self) -> Result<Vec<Epoch>, RetentionError> {
        let mut epochs = Vec::new();
        let mut after = 0;
        loop {
            let page = self
                .datastore
                .receipts_open(after, self.clock.now(), PAGE)
                .await?;
            let Some(last) = page.last() else {
                return Ok(epochs);
            };
            after = last.receipt_id;
            epochs.extend(page.iter().filter_map(|open| match open.destroyed {
                Destroyed::Epoch(epoch) => Some(epoch),
                Destroyed::Subject(_) | Destroyed::Number(_) => None,
            }));
        }
    }
}
