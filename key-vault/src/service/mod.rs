//! What the vault does, one file per family of RPCs, in the contract's own messages and without gRPC.
//!
//! Owns the order of things: load rows, one step on them off the async threads, write, commit, answer. Invariant: nothing
//! that a step produced is answered unless its transaction is known to be committed.

mod administration;
mod admit;
mod batch;
mod check;
mod decrypt;
mod decrypt_step;
mod deliver;
mod destroy;
mod encrypt;
mod epochs;
mod erase;
mod export;
mod keys;
mod lapse;
mod pending;
mod prekeys;
mod receipts;
mod records;
mod remove;
mod replay;
mod reseal;
mod settling;
mod shards;
mod stream;
mod working_set;

use std::{sync::Arc, time::Duration};

use rand::{TryRngCore, rand_core::UnwrapErr, rngs::OsRng};
use sealpost_database::{Database, PoolOptions};
use sealpost_envelope::VerifyingKey;
use sealpost_proto::vault::v1::{ConfirmClockRequest, ConfirmClockResponse};
use sealpost_runtime::{Clock, Timestamp};
use tokio_util::sync::CancellationToken;

pub use epochs::EpochWatch;
pub use shards::ShardWatch;
pub use stream::StreamState;

use crate::{
    VaultError,
    config::Config,
    connector_keys::ConnectorKeys,
    custody::{
        Journal, Keyring, ReceiptKey, RootKey, TimeKeeper,
        unseal::{self, SealedRoot, Secrets},
    },
    datastore,
    number_cache::NumberCache,
    own_keys::OwnKeys,
    session_cache::SessionCache,
    shards::Leases,
};

/// Items that one batch may have.
const MAX_BATCH: usize = 256;
/// How often what is due is looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(5);
/// How long a key that another replica destroyed may stay in this one's memory.
const DESTROYED_ELSEWHERE: Duration = Duration::from_secs(1);

/// What is told to every vault when subjects are deleted, so that none keeps one in memory.
const FORGOTTEN: &str = "forgotten";

/// An open vault. Clones share it.
#[derive(Clone)]
pub struct Vault(Arc<Inner>);

struct Inner {
    database: Database,
    root: Arc<RootKey>,
    keyring: Arc<Keyring>,
    journal: Arc<Journal>,
    time: TimeKeeper,
    receipts: ReceiptKey,
    relay_keys: Vec<VerifyingKey>,
    connector_keys: ConnectorKeys,
    own_keys: OwnKeys,
    leases: Leases,
    sessions: Arc<SessionCache>,
    numbers: NumberCache,
    /// When somebody idle was last looked for.
    looked_for_idle: tokio::sync::Mutex<Option<Timestamp>>,
    /// One destruction at a time.
    destroying: tokio::sync::Mutex<()>,
}

impl Vault {
    /// Opens the vault that [`crate::custody::init`] made, unsealed by a provider that needs nobody, and takes its place among the
    /// vaults of its database.
    ///
    /// # Errors
    /// When it was not made, others may read its files, its parts do not belong together, or what was erased is in the database
    /// again and cannot be erased.
    pub async fn open(config: &Config, clock: Clock) -> Result<Self, VaultError> {
        let (sealed, unseal) = (Self::sealed(config)?, config.unseal.clone());
        let root = blocking(move || unseal::open(&sealed, &Secrets::Automatic, &unseal)).await??;
        Self::open_with(config, clock, root).await
    }

    /// The sealed root key of the vault that was made.
    ///
    /// # Errors
    /// [`VaultError::NotInitialised`].
    pub(crate) fn sealed(config: &Config) -> Result<SealedRoot, VaultError> {
        let made = Keyring::exists(&config.keyring)
            && config
                .database
                .url
                .file()
                .is_none_or(std::path::Path::exists);
        let sealed = SealedRoot::read(&config.root_key)?;
        sealed.filter(|_| made).ok_or(VaultError::NotInitialised)
    }

    /// The same, with a root key that was unsealed.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub(crate) async fn open_with(
        config: &Config,
        clock: Clock,
        root: RootKey,
    ) -> Result<Self, VaultError> {
        let root = Arc::new(root);
        let keyring = Arc::new(Keyring::open(config.keyring.clone(), root.clone())?);
        let journal = Arc::new(Journal::new(&config.keyring, root.clone()));
        let options = PoolOptions::default();
        let database =
            Database::open(config.database.clone(), datastore::MIGRATIONS, options).await?;
        let sealed: Option<Vec<u8>> = database
            .read("open", |db| {
                Box::pin(async move { datastore::vault_key_find(db, datastore::RECEIPT_KEY).await })
            })
            .await?;
        let receipts = ReceiptKey::open(&root, &sealed.ok_or(VaultError::NotInitialised)?)?;
        let vault = Self(Arc::new(Inner {
            database,
            time: TimeKeeper::start(clock, keyring.clone())?,
            root,
            keyring,
            journal,
            receipts,
            relay_keys: config.bundle_keys(),
            connector_keys: ConnectorKeys::new(),
            own_keys: OwnKeys::default(),
            leases: shards::newcomer(config.holder()),
            sessions: SessionCache::new(config.session_cache_bytes()),
            numbers: NumberCache::default(),
            looked_for_idle: tokio::sync::Mutex::default(),
            destroying: tokio::sync::Mutex::default(),
        }));
        let begun = async {
            vault.replay_erasures().await?;
            vault.enter().await
        };
        match begun.await {
            Ok(()) => Ok(vault),
            Err(error) => {
                // What it opened must not wait for whoever opens the vault next.
                let _ = vault.close().await;
                Err(error)
            }
        }
    }

    /// Does what is due, until `shutdown`: keeps the time mark, deletes what has had its time, finishes what was interrupted, and
    /// destroys epoch keys that nobody came to destroy. Beside it, drops from memory what another replica erased: that waits for nothing.
    pub async fn keep_house(self, shutdown: CancellationToken) {
        tokio::join!(
            self.keep_house_alone(&shutdown),
            self.keep_forgetting(&shutdown)
        );
    }

    async fn keep_forgetting(&self, shutdown: &CancellationToken) {
        let mut forgotten = self.0.database.notices(FORGOTTEN);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = forgotten.next() => self.forget_at_hand(),
            }
        }
    }

    /// Drops what is at hand of persons and numbers, some of whom were erased or removed.
    fn forget_at_hand(&self) {
        self.0.sessions.clear();
        self.0.numbers.clear();
        self.0.own_keys.clear();
    }

    async fn keep_house_alone(&self, shutdown: &CancellationToken) {
        let mut tick = tokio::time::interval(HOUSEKEEPING);
        let mut look = tokio::time::interval(DESTROYED_ELSEWHERE);
        loop {
            let kept = tokio::select! {
                () = shutdown.cancelled() => return,
                _ = tick.tick() => self.housekeeping().await,
                _ = look.tick() => self.forget_destroyed().await,
            };
            match kept {
                Ok(()) => {}
                Err(VaultError::ClockUnconfirmed) => {
                    metrics::counter!("sealpost_vault_clock_unconfirmed_total").increment(1);
                    tracing::warn!(
                        reason = "CLOCK_UNCONFIRMED",
                        "the clock jumped; an operator must confirm it"
                    );
                }
                Err(error) => tracing::error!(error = %error, "housekeeping failed"),
            }
        }
    }

    /// One round of [`Vault::keep_house`].
    ///
    /// # Errors
    /// What failed first.
    pub async fn housekeeping(&self) -> Result<(), VaultError> {
        let now = self.0.time.now()?;
        let vault = self.clone();
        blocking(move || vault.0.time.persist()).await??;
        self.0.keyring.forget_expired(now);
        self.0.connector_keys.forget_ended(now);
        self.0.own_keys.forget_ended(now);
        // First of all that needs the database: what fails below keeps no key alive.
        self.destroy_overdue(now).await?;
        self.delete_ended_hpke_keys(now).await?;
        self.replay_when_restored().await?;
        self.finish_removals().await?;
        self.forget_erased(now).await?;
        self.forget_gone(now).await?;
        self.lapse_idle(now).await
    }

    /// Drops from memory the epoch keys that another replica destroyed.
    ///
    /// # Errors
    /// When the keyring's folder cannot be read.
    pub async fn forget_destroyed(&self) -> Result<(), VaultError> {
        let keyring = self.0.keyring.clone();
        Ok(blocking(move || keyring.forget_destroyed()).await??)
    }

    /// Wipes every key from memory that no step under way holds, and lets no step begin that needs another.
    pub(crate) fn wipe(&self) {
        self.0.root.wipe();
        self.0.keyring.forget_all();
        self.0.connector_keys.clear();
        self.forget_at_hand();
    }

    /// Whether it was wiped: what it answers since then means nothing.
    pub(crate) fn is_wiped(&self) -> bool {
        self.0.root.is_wiped()
    }

    /// The root key, to be sealed by a provider.
    pub(crate) fn root(&self) -> &Arc<RootKey> {
        &self.0.root
    }

    /// Whether anybody else still works with it.
    pub(crate) fn is_alone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Waits for work under way and closes the database.
    ///
    /// # Errors
    /// When its log could not be emptied; nothing committed is lost.
    pub async fn close(&self) -> Result<(), VaultError> {
        Ok(self.0.database.close().await?)
    }

    /// After a forward jump: an operator says what time it is.
    ///
    /// # Errors
    /// [`VaultError::ClockDisagrees`].
    #[expect(clippy::unused_async, reason = "like its siblings")]
    pub async fn confirm_clock(
        &self,
        request: ConfirmClockRequest,
    ) -> Result<ConfirmClockResponse, VaultError> {
        let now = self
            .0
            .time
            .confirm(Timestamp::from_millis(request.now_ms))
            .ok_or(VaultError::ClockDisagrees)?;
        tracing::info!("an operator confirmed the clock");
        Ok(ConfirmClockResponse {
            now_ms: now.timestamp().as_millis(),
        })
    }
}

/// Runs a step off the async threads.
async fn blocking<T: Send + 'static>(
    step: impl FnOnce() -> T + Send + 'static,
) -> Result<T, VaultError> {
    tokio::task::spawn_blocking(step)
        .await
        .map_err(|_| VaultError::Stopped)
}

/// The system's generator, for libsignal.
fn rng() -> UnwrapErr<OsRng> {
    OsRng.unwrap_err()
}
