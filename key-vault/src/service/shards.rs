//! Holding shards: the rounds in which a vault shows that it lives, takes, and hands on; and what gateways are told.
//!
//! Every writing transaction of a database comes after the one before it, over all replicas: what a fence reads at its start
//! stands until it commits.

use std::time::Duration;

use rand::RngCore;
use sealpost_database::{Notices, Tx};
use sealpost_proto::vault::v1::{ShardHolder, WatchShardsResponse};
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{Vault, rng};
use crate::{
    VaultError, datastore,
    shards::{self, BEAT, Holdings, Leases, Move, Pulse, Shard, View},
};

/// What vaults tell each other of.
const TOPIC: &str = "shards";
/// After somebody asked for a round, more who ask the same may join.
const PAUSE: Duration = Duration::from_millis(20);
/// How long handing on may take at the end; what is not handed on lapses.
const LEAVING: Duration = Duration::from_secs(2);

/// What a round does before it looks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Take the name, and what carries it, from whoever had it.
    Enter,
    /// Show that we live.
    Stay,
    /// Hand on what we have.
    Leave,
}

/// What a round saw.
struct Round {
    pulse: Pulse,
    holdings: Holdings,
    /// Another process has our name.
    superseded: bool,
}

/// A new vault's place among the vaults.
pub(super) fn newcomer(name: String) -> Leases {
    // SQL's integers have 63 bits above nothing.
    Leases::new(name, rng().next_u64() >> 1)
}

impl Vault {
    /// Takes the vault's name and shards: its own at once, with new tokens, and what is nobody's.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn enter(&self) -> Result<(), VaultError> {
        self.round(Step::Enter).await
    }

    /// Holds shards until `stop`, then hands them on at once.
    pub async fn keep_shards(self, stop: CancellationToken) {
        let look_after = async {
            let mut notices = self.0.database.notices(TOPIC);
            loop {
                tokio::select! {
                    () = tokio::time::sleep(BEAT) => {}
                    () = self.moved(&mut notices) => {}
                }
                if let Err(error) = self.round(Step::Stay).await {
                    tracing::warn!(error = %error, "shards were not looked after");
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = look_after => {}
        }
        match timeout(LEAVING, self.round(Step::Leave)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = %error, "shards were not handed on"),
            Err(_) => tracing::warn!(reason = "DEADLINE", "shards were not handed on"),
        }
    }

    /// Waits until the table is another than at the last round, as another vault or somebody who missed a shard here says.
    async fn moved(&self, notices: &mut Notices) {
        let leases = &self.0.leases;
        loop {
            tokio::select! {
                () = leases.asked() => {}
                () = notices.next() => {}
            }
            tokio::time::sleep(PAUSE).await;
            let now: Result<Holdings, VaultError> = self
                .0
                .database
                .read("shards", |db| {
                    Box::pin(async move { Ok(datastore::shards_list(db).await?) })
                })
                .await;
            if now.is_ok_and(|now| now != leases.view().holdings) {
                return;
            }
        }
    }

    /// One round: show that we live, see who else does, take and hand on.
    async fn round(&self, step: Step) -> Result<(), VaultError> {
        let leases = &self.0.leases;
        let (name, incarnation) = (leases.name.clone(), leases.incarnation);
        let (pulse, elapsed) = leases.pulse();
        let round = self
            .0
            .database
            .run_tx("shards", move |tx| {
                let (name, mut pulse) = (name.clone(), pulse.clone());
                Box::pin(async move {
                    let superseded = !step.begin(tx, &name, incarnation).await?;
                    let members = datastore::vaults_list(tx).await?;
                    pulse.hear(&name, &members, elapsed);
                    let mut holdings = datastore::shards_list(tx).await?;
                    let moves: Vec<Move> = match step {
                        _ if superseded => Vec::new(),
                        Step::Enter | Step::Stay => {
                            shards::settle(&name, &pulse.living(), &holdings)
                        }
                        Step::Leave => shards::leave(&name, &pulse.living(), &holdings),
                    };
                    if !moves.is_empty() || step != Step::Stay {
                        tx.notify(TOPIC);
                    }
                    for change in &moves {
                        datastore::shard_give(tx, change.shard, &change.to).await?;
                        holdings.apply(change);
                    }
                    for dead in pulse.forgotten() {
                        datastore::vault_delete(tx, &dead.name, dead.incarnation).await?;
                    }
                    Ok::<_, VaultError>(Round {
                        pulse,
                        holdings,
                        superseded,
                    })
                })
            })
            .await?;
        if round.superseded && !leases.view().name.is_empty() {
            tracing::error!(
                reason = "NAME_TAKEN",
                "another process runs under this vault's name"
            );
        }
        let holds = step != Step::Leave && !round.superseded;
        let view = View {
            holdings: round.holdings,
            name: if holds {
                leases.name.clone()
            } else {
                String::new()
            },
        };
        let held = Shard::all().filter(|shard| view.holds(*shard)).count();
        metrics::gauge!("sealpost_vault_shards_held").set(held as f64);
        leases.learn(round.pulse, view);
        Ok(())
    }

    /// Whether a conversation is probably ours: worth a transaction, whose fence decides.
    pub(super) fn expects(&self, shard: Shard) -> bool {
        let expected = self.0.leases.view().holds(shard);
        if !expected {
            self.0.leases.look_soon();
        }
        expected
    }

    /// What a gateway is to be told.
    #[must_use]
    pub fn watch_shards(&self) -> ShardWatch {
        ShardWatch {
            views: self.0.leases.watch(),
            told: None,
        }
    }
}

impl Step {
    /// False when another process has the name.
    async fn begin(self, tx: &mut Tx, name: &str, incarnation: u64) -> Result<bool, VaultError> {
        Ok(match self {
            Self::Enter => {
                datastore::vault_enter(tx, name, incarnation).await?;
                datastore::shards_renew(tx, name).await?;
                true
            }
            Self::Stay => datastore::vault_beat(tx, name, incarnation).await?,
            Self::Leave => datastore::vault_delete(tx, name, incarnation).await?,
        })
    }
}

/// What one gateway has been told of the shards.
pub struct ShardWatch {
    views: watch::Receiver<View>,
    told: Option<Holdings>,
}

impl ShardWatch {
    /// Waits until there may be something to tell. False: the vault is gone, and tells nothing any more.
    pub async fn changed(&mut self) -> bool {
        self.told.is_none() || self.views.changed().await.is_ok()
    }

    /// All of it at first, later what changed, which may be nothing.
    pub fn news(&mut self) -> Option<WatchShardsResponse> {
        let view = self.views.borrow_and_update().holdings.clone();
        let told = self.told.replace(view.clone());
        let news = view
            .all()
            .filter(|(shard, lease)| told.as_ref().is_none_or(|told| told.of(*shard) != *lease))
            .map(|(shard, lease)| ShardHolder {
                shard: shard.number(),
                holder: lease.holder.clone(),
                token: lease.token,
            });
        let shards: Vec<_> = news.collect();
        (!shards.is_empty()).then_some(WatchShardsResponse { shards })
    }
}
