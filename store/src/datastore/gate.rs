//! Which epochs take records, within one transaction.

use std::collections::HashMap;

use sealpost_database::{DatabaseError, Tx};
use sealpost_runtime::Timestamp;

use crate::{
    epoch::{Epoch, EpochState},
    tables::epochs::{epoch_find, epoch_set},
};

/// The states of the epochs that a batch meets, read once each.
pub(super) struct Gate {
    now: Timestamp,
    states: HashMap<Epoch, Option<EpochState>>,
}

impl Gate {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            now,
            states: HashMap::new(),
        }
    }

    async fn state(
        &mut self,
        tx: &mut Tx,
        epoch: Epoch,
    ) -> Result<Option<EpochState>, DatabaseError> {
        if let Some(state) = self.states.get(&epoch) {
            return Ok(*state);
        }
        let state = epoch_find(tx, epoch).await?;
        self.states.insert(epoch, state);
        Ok(state)
    }

    pub(super) async fn is_over(
        &mut self,
        tx: &mut Tx,
        epoch: Epoch,
    ) -> Result<bool, DatabaseError> {
        Ok(epoch.is_over(self.state(tx, epoch).await?, self.now))
    }

    pub(super) async fn takes_outbound(
        &mut self,
        tx: &mut Tx,
        epoch: Epoch,
    ) -> Result<bool, DatabaseError> {
        Ok(epoch.takes_outbound(self.state(tx, epoch).await?, self.now))
    }

    pub(super) async fn takes_inbound(
        &mut self,
        tx: &mut Tx,
        epoch: Epoch,
    ) -> Result<bool, DatabaseError> {
        Ok(epoch.takes_inbound(self.state(tx, epoch).await?, self.now))
    }

    /// An epoch that gets a record is known from then on, so that its end is noticed even if the vault never names it.
    pub(super) async fn admit(&mut self, tx: &mut Tx, epoch: Epoch) -> Result<(), DatabaseError> {
        if self.state(tx, epoch).await?.is_none() {
            epoch_set(tx, epoch, EpochState::Open, self.now).await?;
            self.states.insert(epoch, Some(EpochState::Open));
        }
        Ok(())
    }
}
