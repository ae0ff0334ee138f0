//! What runs while the vault is unsealed: the vault, its housekeeping, the look after its shards.

use std::time::Duration;

use tokio::{task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{Vault, VaultError};

/// How often it is looked whether work under way has ended, and how long sealing waits for it: longer than any call may take.
const LOOK: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(120);

/// What runs beside an unsealed vault.
pub(super) struct Running {
    pub(super) vault: Vault,
    retiring: CancellationToken,
    ending: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    /// Begins it. `failed` is cancelled when it cannot go on.
    pub(super) fn of(vault: Vault, failed: CancellationToken) -> Self {
        let (retiring, ending) = (CancellationToken::new(), CancellationToken::new());
        let house = tokio::spawn(vault.clone().keep_house(ending.clone()));
        let shards = tokio::spawn({
            let (vault, retiring) = (vault.clone(), retiring.clone());
            async move {
                // A vault that does not look after its shards must not look as if it served.
                let failed = failed.drop_guard();
                vault.keep_shards(retiring.clone()).await;
                if retiring.is_cancelled() {
                    failed.disarm();
                }
            }
        });
        Self {
            vault,
            retiring,
            ending,
            tasks: vec![house, shards],
        }
    }

    /// Hands the shards on, and takes no others.
    pub(super) async fn retire(&mut self) {
        self.retiring.cancel();
        while self.tasks.len() > 1 {
            if let Some(shards) = self.tasks.pop() {
                let _ = shards.await;
            }
        }
    }

    /// Ends it, and waits until nobody else works with the vault; may be asked again.
    ///
    /// # Errors
    /// When work under way does not end.
    pub(super) async fn end(&mut self) -> Result<(), VaultError> {
        self.retiring.cancel();
        self.ending.cancel();
        while let Some(task) = self.tasks.pop() {
            let _ = task.await;
        }
        let closed = self.vault.close().await;
        // Calls under way hold the vault until they end, and with it keys of their own.
        for _ in 0..PATIENCE.as_millis() / LOOK.as_millis() {
            if self.vault.is_alone() {
                if let Err(error) = closed {
                    tracing::warn!(error = %error, "the database was not closed in order");
                }
                return Ok(());
            }
            sleep(LOOK).await;
        }
        tracing::error!("work under way did not end, and holds keys yet");
        Err(VaultError::Stopped)
    }
}
