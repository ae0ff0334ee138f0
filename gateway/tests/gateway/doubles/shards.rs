//! Several vaults on one state: who of them holds the shards, and who answers nobody.

use std::sync::Arc;

use sealpost_proto::vault::v1::{ShardHolder, WatchShardsResponse};
use tokio::sync::watch;

/// Who holds all shards.
#[derive(Clone, Default)]
pub struct Hold {
    pub vault: String,
    pub token: u64,
    /// Does what it is asked, and its answers are lost.
    pub mute: String,
}

/// One vault among several; alone it holds everything.
#[derive(Clone, Default)]
pub struct Place {
    pub name: String,
    pub hold: Arc<watch::Sender<Hold>>,
}

impl Place {
    /// Whether this vault holds the shards.
    pub fn holds(&self) -> bool {
        self.hold.borrow().vault == self.name
    }

    /// Waits for ever, if nobody is to hear this vault.
    pub async fn speak(&self) {
        let mut hold = self.hold.subscribe();
        let _ = hold
            .wait_for(|hold| hold.mute != self.name || self.name.is_empty())
            .await;
    }

    /// The shards as they are, at each change.
    pub async fn said(hold: &mut watch::Receiver<Hold>, first: bool) -> WatchShardsResponse {
        if !first && hold.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        let Hold { vault, token, .. } = hold.borrow_and_update().clone();
        let shard = |shard| ShardHolder {
            shard,
            holder: vault.clone(),
            token,
        };
        WatchShardsResponse {
            shards: (0..64).map(shard).collect(),
        }
    }

    /// Another holder, as the vaults' database would have it.
    pub fn give(&self, to: &str) {
        self.hold.send_modify(|hold| {
            to.clone_into(&mut hold.vault);
            hold.token += 1;
        });
    }

    /// Nobody hears that vault any more.
    pub fn silence(&self, vault: &str) {
        self.hold
            .send_modify(|hold| vault.clone_into(&mut hold.mute));
    }
}
