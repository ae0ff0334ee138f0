//! WatchEpochs: the state of every epoch, then each change.

use std::collections::BTreeMap;

use sealpost_proto::vault::v1::{EpochState, EpochStatus, WatchEpochsResponse};

use super::{Vault, blocking};
use crate::{VaultError, datastore, epoch::EpochId};

/// What one watcher has been told.
#[derive(Default)]
pub struct EpochWatch {
    told: BTreeMap<EpochId, EpochState>,
    begun: bool,
}

impl EpochWatch {
    /// A watcher who knows nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Vault {
    /// What `watch` should be told now: everything at first, later only what changed, which may be nothing.
    ///
    /// # Errors
    /// When keyring or database fails, or the clock is not trusted.
    pub async fn epoch_changes(
        &self,
        watch: &mut EpochWatch,
    ) -> Result<Option<WatchEpochsResponse>, VaultError> {
        let now = self.0.time.now()?;
        let keyring = self.0.keyring.clone();
        let here = blocking(move || keyring.list()).await??;
        let mut states: BTreeMap<EpochId, EpochState> = here
            .iter()
            .map(|epoch| (*epoch, epoch.state(now.timestamp())))
            .collect();
        let gone = if watch.begun {
            let vanished = watch
                .told
                .keys()
                .filter(|epoch| !here.contains(epoch) && epoch.is_expired(now.timestamp()));
            vanished.copied().collect()
        } else {
            self.0
                .database
                .read("destructions", |db| {
                    Box::pin(async move { datastore::destructions_done(db).await })
                })
                .await
                .map_err(VaultError::Database)?
        };
        for epoch in gone {
            // One whose file somebody put back opens nothing, and is destroyed again.
            states.insert(epoch, EpochState::Destroyed);
        }
        let epochs: Vec<EpochStatus> = states
            .into_iter()
            .filter(|(epoch, state)| watch.told.insert(*epoch, *state) != Some(*state))
            .map(|(epoch, state)| EpochStatus {
                epoch: Some(epoch.to_proto()),
                state: state.into(),
            })
            .collect();
        let first = !std::mem::replace(&mut watch.begun, true);
        Ok((first || !epochs.is_empty()).then_some(WatchEpochsResponse { epochs }))
    }
}
