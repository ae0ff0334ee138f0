//! Whether the vault is sealed: its keys are on disk alone, or it serves.
//!
//! Owns the way between the two, and what runs while the vault is unsealed. Attempts to unseal go one after another, a wrong one
//! costs a second, and it takes the shares that were given so far with it. Invariant: once sealing was answered, this process holds
//! no key of the vault's.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use sealpost_proto::vault::v1 as proto;
use sealpost_runtime::{Clock, server::Health};
use tokio::{
    sync::{Mutex, MutexGuard},
    task::JoinHandle,
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::{
    Config, Vault, VaultError,
    custody::{
        init::{InitError, init},
        unseal::{self, NewSeal, SealedRoot, Secrets, Share, UnsealError},
    },
};

/// What a wrong secret costs.
const PENALTY: Duration = Duration::from_secs(1);
/// How often it is looked whether work under way has ended, and how long sealing waits for it.
const LOOK: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the vault stands.
pub type SealStatus = proto::SealStatus;

/// Keeps a vault, sealed or not. Clones share it.
#[derive(Clone)]
pub struct Keeper(Arc<Inner>);

struct Inner {
    config: Config,
    clock: Clock,
    health: Health,
    /// Cancelled when the unsealed vault cannot go on.
    failed: CancellationToken,
    open: RwLock<Option<Vault>>,
    state: Mutex<State>,
}

enum State {
    Sealed(Vec<Share>),
    Unsealed(Running),
}

/// What runs beside an unsealed vault.
struct Running {
    vault: Vault,
    retiring: CancellationToken,
    ending: CancellationToken,
    shards: JoinHandle<()>,
    house: JoinHandle<()>,
}

impl Keeper {
    /// Of the vault that `config` describes, sealed. `failed` is cancelled when it cannot go on serving.
    #[must_use]
    pub fn new(config: Config, clock: Clock, health: Health, failed: CancellationToken) -> Self {
        Self(Arc::new(Inner {
            config,
            clock,
            health,
            failed,
            open: RwLock::default(),
            state: Mutex::new(State::Sealed(Vec::new())),
        }))
    }

    /// The vault, while it is unsealed.
    ///
    /// # Errors
    /// [`VaultError::Sealed`].
    pub fn vault(&self) -> Result<Vault, VaultError> {
        let open = self.0.open.read().unwrap_or_else(PoisonError::into_inner);
        open.clone().ok_or(VaultError::Sealed)
    }

    /// At the start of the process: unseals when its provider needs nobody. A vault that persons unseal, or that they have yet to
    /// initialise, stays sealed.
    ///
    /// # Errors
    /// When the provider fails, or the vault cannot be opened.
    pub async fn start(&self) -> Result<(), VaultError> {
        self.0.health.set_ready(false).await;
        let config = &self.0.config;
        let sealed = SealedRoot::read(&config.root_key)?;
        if sealed.as_ref().is_some_and(SealedRoot::is_automatic) {
            self.unseal_automatically(&mut *self.0.state.lock().await)
                .await?;
        } else {
            // What is configured unseals by itself: its operators expect a vault that serves.
            if sealed.is_none() && config.unseal.is_automatic() {
                return Err(VaultError::NotInitialised);
            }
            tracing::warn!(
                initialised = sealed.is_some(),
                reason = "SEALED",
                "the vault is sealed until an operator unseals it"
            );
        }
        Ok(())
    }

    /// Where the vault stands.
    ///
    /// # Errors
    /// When the root key's file cannot be read.
    pub async fn status(&self) -> Result<SealStatus, VaultError> {
        self.status_of(&*self.0.state.lock().await)
    }

    /// Makes the vault. It is sealed afterwards.
    ///
    /// # Errors
    /// [`InitError`].
    pub async fn initialise(
        &self,
        new: NewSeal,
    ) -> Result<(SealStatus, Vec<Zeroizing<String>>), VaultError> {
        let state = self.sealed().await?;
        // Over this way nothing is ever repeated: whoever finds a vault that he did not make must be told.
        if let Some(sealed) = SealedRoot::read(&self.0.config.root_key)? {
            return Err(InitError::Initialised(sealed.provider()).into());
        }
        let (config, clock) = (self.0.config.clone(), self.0.clock.clone());
        // Carried to its end, whether or not its caller still waits.
        let made = tokio::spawn(async move {
            let shares = init(&config, &clock, &new).await?;
            tracing::info!(provider = new.provider(), "the vault is initialised");
            Ok::<_, InitError>(shares)
        });
        let shares = made.await.map_err(|_| VaultError::Stopped)??;
        Ok((self.status_of(&state)?, texts(&shares)))
    }

    /// Unseals by the provider of the configuration.
    ///
    /// # Errors
    /// [`UnsealError`], and whatever [`Vault::open`] says.
    pub async fn unseal(&self) -> Result<SealStatus, VaultError> {
        let mut state = self.0.state.lock().await;
        if matches!(*state, State::Sealed(_)) {
            self.unseal_automatically(&mut state).await?;
        }
        self.status_of(&state)
    }

    /// Unseals by a passphrase.
    ///
    /// # Errors
    /// As [`Self::unseal`].
    pub async fn unseal_by_passphrase(
        &self,
        passphrase: Zeroizing<String>,
    ) -> Result<SealStatus, VaultError> {
        let mut state = self.0.state.lock().await;
        if matches!(*state, State::Sealed(_)) {
            let attempt = move |sealed: &SealedRoot, config: &Config| {
                unseal::open(sealed, &Secrets::Passphrase(&passphrase), &config.unseal)
            };
            self.attempt(&mut state, attempt).await?;
        }
        self.status_of(&state)
    }

    /// Takes one share, and unseals when there are enough. The same one twice counts once.
    ///
    /// # Errors
    /// [`UnsealError::Unfit`] for a share of another set; else as [`Self::unseal`].
    pub async fn unseal_by_share(&self, share: Share) -> Result<SealStatus, VaultError> {
        let mut state = self.0.state.lock().await;
        if let State::Sealed(given) = &mut *state {
            let sealed = Vault::sealed(&self.0.config)?;
            let Some((_, threshold)) = sealed.sharing() else {
                return Err(UnsealError::OtherProvider(sealed.provider()).into());
            };
            if !sealed.takes(&share) {
                let problem = "the share belongs to another vault, or to an earlier set";
                return Err(UnsealError::Unfit(problem).into());
            }
            given.retain(|other| other.place() != share.place());
            given.push(share);
            if given.len() >= usize::from(threshold) {
                let shares = std::mem::take(given);
                let attempt = move |sealed: &SealedRoot, config: &Config| {
                    unseal::open(sealed, &Secrets::Shares(&shares), &config.unseal)
                };
                self.attempt(&mut state, attempt).await?;
            }
        }
        self.status_of(&state)
    }

    /// Seals: wipes every key at once, waits for what is under way, and closes the database.
    ///
    /// # Errors
    /// When work under way does not end: it holds keys yet.
    pub async fn seal(&self) -> Result<SealStatus, VaultError> {
        let mut state = self.0.state.lock().await;
        self.shut();
        if let State::Unsealed(running) = &*state {
            running.vault.wipe();
            tracing::warn!("the vault is being sealed");
        }
        let before = std::mem::replace(&mut *state, State::Sealed(Vec::new()));
        self.0.health.set_ready(false).await;
        if let State::Unsealed(running) = before {
            running.end().await?;
        }
        self.status_of(&state)
    }

    /// Seals the root key anew, with `new`.
    ///
    /// # Errors
    /// [`VaultError::Sealed`]; [`UnsealError`].
    pub async fn change_provider(
        &self,
        new: NewSeal,
    ) -> Result<(SealStatus, Vec<Zeroizing<String>>), VaultError> {
        let state = self.0.state.lock().await;
        let State::Unsealed(running) = &*state else {
            return Err(VaultError::Sealed);
        };
        let config = self.0.config.clone();
        if matches!(new, NewSeal::Development) && !config.development {
            return Err(InitError::NotDevelopment.into());
        }
        let root = running.vault.root().clone();
        let changed = blocking(move || {
            let (sealed, shares) = unseal::seal(&root, &new, &config.unseal)?;
            sealed.replace(&config.root_key)?;
            Ok::<_, UnsealError>((new.provider(), shares))
        });
        let (provider, shares) = changed.await??;
        tracing::warn!(provider, "the root key is sealed by another provider");
        Ok((self.status_of(&state)?, texts(&shares)))
    }

    /// The process is about to stop: hands shards on, so that other vaults serve them before this one stops listening.
    pub async fn retire(&self) {
        if let State::Unsealed(running) = &mut *self.0.state.lock().await {
            running.retiring.cancel();
            let _ = (&mut running.shards).await;
        }
    }

    /// Ends what runs and closes the database.
    ///
    /// # Errors
    /// As [`Self::seal`].
    pub async fn close(&self) -> Result<(), VaultError> {
        self.seal().await.map(drop)
    }

    async fn sealed(&self) -> Result<MutexGuard<'_, State>, VaultError> {
        let state = self.0.state.lock().await;
        match &*state {
            State::Sealed(_) => Ok(state),
            State::Unsealed(_) => {
                let sealed = Vault::sealed(&self.0.config)?;
                Err(InitError::Initialised(sealed.provider()).into())
            }
        }
    }

    async fn unseal_automatically(&self, state: &mut State) -> Result<(), VaultError> {
        let attempt = |sealed: &SealedRoot, config: &Config| {
            unseal::open(sealed, &Secrets::Automatic, &config.unseal)
        };
        self.attempt(state, attempt).await
    }

    async fn attempt(
        &self,
        state: &mut State,
        open: impl FnOnce(&SealedRoot, &Config) -> Result<crate::custody::RootKey, UnsealError>
        + Send
        + 'static,
    ) -> Result<(), VaultError> {
        let config = self.0.config.clone();
        let sealed = Vault::sealed(&config)?;
        if sealed.provider() == "development" {
            if !config.development {
                return Err(InitError::NotDevelopment.into());
            }
            tracing::warn!(
                reason = "DEVELOPMENT_KEY",
                "the root key is sealed with a key that everybody has"
            );
        }
        let provider = sealed.provider();
        let opened = blocking(move || open(&sealed, &config)).await?;
        let root = match opened {
            Ok(root) => root,
            Err(error) => {
                metrics::counter!("sealpost_vault_unseal_refused_total").increment(1);
                tracing::warn!(provider, error = %error, "the vault could not be unsealed");
                if matches!(error, UnsealError::Refused) {
                    sleep(PENALTY).await;
                }
                return Err(error.into());
            }
        };
        let vault = Vault::open_with(&self.0.config, self.0.clock.clone(), root).await?;
        *self.0.open.write().unwrap_or_else(PoisonError::into_inner) = Some(vault.clone());
        *state = State::Unsealed(Running::of(vault, self.0.failed.clone()));
        self.0.health.set_ready(true).await;
        metrics::gauge!("sealpost_vault_unsealed").set(1.0);
        tracing::info!(provider, "the vault is unsealed");
        Ok(())
    }

    fn shut(&self) {
        *self.0.open.write().unwrap_or_else(PoisonError::into_inner) = None;
        metrics::gauge!("sealpost_vault_unsealed").set(0.0);
    }

    fn status_of(&self, state: &State) -> Result<SealStatus, VaultError> {
        let sealed = SealedRoot::read(&self.0.config.root_key)?;
        let (seal_state, given) = match state {
            State::Unsealed(_) => (proto::SealState::Unsealed, 0),
            State::Sealed(_) if sealed.is_none() => (proto::SealState::Uninitialised, 0),
            State::Sealed(given) => (proto::SealState::Sealed, given.len()),
        };
        let (shares, threshold) = sealed
            .as_ref()
            .and_then(SealedRoot::sharing)
            .unwrap_or_default();
        Ok(SealStatus {
            state: seal_state.into(),
            provider: sealed.map_or("", |sealed| sealed.provider()).to_owned(),
            shares: shares.into(),
            threshold: threshold.into(),
            given: u32::try_from(given).unwrap_or(u32::MAX),
        })
    }
}

impl Running {
    fn of(vault: Vault, failed: CancellationToken) -> Self {
        let (retiring, ending) = (CancellationToken::new(), CancellationToken::new());
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
        let house = tokio::spawn(vault.clone().keep_house(ending.clone()));
        Self {
            vault,
            retiring,
            ending,
            shards,
            house,
        }
    }

    async fn end(self) -> Result<(), VaultError> {
        self.retiring.cancel();
        self.ending.cancel();
        if !self.shards.is_finished() {
            let _ = self.shards.await;
        }
        let _ = self.house.await;
        self.vault.close().await?;
        // Calls under way hold the vault until they end, and with it keys of their own.
        for _ in 0..PATIENCE.as_millis() / LOOK.as_millis() {
            if self.vault.is_alone() {
                return Ok(());
            }
            sleep(LOOK).await;
        }
        tracing::error!("work under way did not end, and holds keys yet");
        Err(VaultError::Stopped)
    }
}

/// As their holders write them down.
fn texts(shares: &[Share]) -> Vec<Zeroizing<String>> {
    shares.iter().map(Share::to_text).collect()
}

async fn blocking<T: Send + 'static>(
    step: impl FnOnce() -> T + Send + 'static,
) -> Result<T, VaultError> {
    tokio::task::spawn_blocking(step)
        .await
        .map_err(|_| VaultError::Stopped)
}
