//! Keeps an ear on the vault: which epochs are open, closed and destroyed.
//!
//! Invariant: a destruction that was heard is in the database before anything else is heard. While the vault is silent, the
//! store goes by its own clock.

use std::{sync::Arc, time::Duration};

use sealpost_proto::{
    record::v1::EpochId,
    vault::v1::{
        EpochState as WireState, EpochStatus, WatchEpochsRequest, WatchEpochsResponse,
        key_vault_service_client::KeyVaultServiceClient,
    },
};
use sealpost_runtime::{Clock, MAX_MESSAGE_BYTES};
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;
use tonic::{Status, transport::Channel};

use crate::{
    datastore::{Datastore, EpochReport},
    epoch::{Epoch, EpochState},
    record::parse_epoch,
};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const CONNECTED: &str = "sealpost_store_vault_watch_connected";

/// Watches the vault's epochs until `stop`, and wakes the purge when one was destroyed.
pub async fn follow(
    vault: Channel,
    datastore: Datastore,
    clock: Clock,
    wake: Arc<Notify>,
    stop: CancellationToken,
) {
    let watch = Watch {
        vault: KeyVaultServiceClient::new(vault).max_decoding_message_size(MAX_MESSAGE_BYTES),
        datastore,
        clock,
        wake,
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = watch.run() => {}
    }
    metrics::gauge!(CONNECTED).set(0.0);
}

struct Watch {
    vault: KeyVaultServiceClient<Channel>,
    datastore: Datastore,
    clock: Clock,
    wake: Arc<Notify>,
}

impl Watch {
    async fn run(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let mut heard = false;
            let ended = self.listen(&mut heard).await;
            metrics::gauge!(CONNECTED).set(0.0);
            if heard {
                pause = FIRST_PAUSE;
            }
            if let Err(status) = ended {
                let code = i32::from(status.code());
                tracing::warn!(code, "the vault's epochs are not watched; trying again");
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One stream, from the first answer, which names every epoch, to its end.
    async fn listen(&self, heard: &mut bool) -> Result<(), Status> {
        let mut vault = self.vault.clone();
        let mut answers = vault
            .watch_epochs(WatchEpochsRequest {})
            .await?
            .into_inner();
        while let Some(answer) = answers.message().await? {
            let complete = !*heard;
            let report = report(&answer, complete);
            let destroyed = self.datastore.note_epochs(report, self.clock.now()).await?;
            *heard = true;
            metrics::gauge!(CONNECTED).set(1.0);
            if destroyed > 0 {
                tracing::info!(count = destroyed, "epochs were destroyed");
                self.wake.notify_one();
            }
        }
        Ok(())
    }
}

/// Reads an answer; what cannot be understood is left out, and makes the report incomplete.
fn report(answer: &WatchEpochsResponse, complete: bool) -> EpochReport {
    let said = answer.epochs.len();
    let states: Vec<_> = answer.epochs.iter().filter_map(read).collect();
    EpochReport {
        complete: complete && states.len() == said,
        states,
    }
}

fn read(status: &EpochStatus) -> Option<(Epoch, EpochState)> {
    let epoch: Option<&EpochId> = status.epoch.as_ref();
    let state = match status.state() {
        WireState::Open => EpochState::Open,
        WireState::Closed => EpochState::Closed,
        WireState::Destroyed => EpochState::Destroyed,
        WireState::Unspecified => return None,
    };
    Some((parse_epoch(epoch).ok()?, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: WireState) -> EpochStatus {
        EpochStatus {
            epoch: Some(EpochId {
                retention_seconds: 3_600,
                start_seconds: 0,
            }),
            state: state.into(),
        }
    }

    #[test]
    fn a_report_with_something_unknown_is_not_complete() {
        let known = WatchEpochsResponse {
            epochs: vec![status(WireState::Open), status(WireState::Destroyed)],
        };
        let report_of_known = report(&known, true);
        assert!(report_of_known.complete);
        assert_eq!(report_of_known.states.len(), 2);

        let unknown = WatchEpochsResponse {
            epochs: vec![status(WireState::Open), status(WireState::Unspecified)],
        };
        let report_of_unknown = report(&unknown, true);
        assert!(!report_of_unknown.complete);
        assert_eq!(report_of_unknown.states.len(), 1);
    }

    #[test]
    fn later_answers_are_never_complete() {
        assert!(!report(&WatchEpochsResponse { epochs: vec![] }, false).complete);
    }
}
