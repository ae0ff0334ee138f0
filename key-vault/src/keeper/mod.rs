//! Whether the vault is sealed: its keys are on disk alone, or it serves.
//!
//! Owns the way between the two, and what runs while the vault is unsealed. Attempts to unseal go one after another, a wrong one
//! costs a second, and it takes the shares that were given so far with it. Invariant: once sealing was answered, no call of this
//! process holds a key of the vault's. Every change here must be carried to its end: run it in a task of its own.

mod given;
mod running;

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use sealpost_proto::vault::v1 as proto;
use sealpost_runtime::{Clock, server::Health};
use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::{
    Config, Vault, VaultError,
    custody::{
        RootKey,
        init::{InitError, init},
        unseal::{self, NewSeal, SealedRoot, Secrets, Share, UnsealError},
    },
};

use self::{given::Given, running::Running};

/// What a wrong secret costs.
const PENALTY: Duration = Duration::from_secs(1);
/// How long the end of the process waits for a change under way.
const RETIRING: Duration = Duration::from_secs(5);

/// Where the vault stands.
pub type SealStatus = proto::SealStatus;

/// A share as its holder writes it down.
pub type ShareText = Zeroizing<String>;

/// What proves that somebody may seal the root key anew: what unseals it now. Nothing, with a provider that unseals by itself.
pub enum Proof {
    /// Nothing.
    Nothing,
    /// The passphrase.
    Passphrase(Zeroizing<String>),
    /// As many shares as are needed.
    Shares(Vec<Share>),
}

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

struct State {
    stage: Stage,
    given: Given,
    /// A change that is made once enough of its shares came back: until then nobody is known to have them.
    pending: Option<Change>,
}

/// Another sealing in place of one that was unsealed for it.
struct Change {
    before: SealedRoot,
    after: SealedRoot,
}

enum Stage {
    Sealed,
    Unsealed(Running),
    /// No longer unsealed, while calls under way hold keys yet.
    Sealing(Running),
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
            state: Mutex::new(State {
                stage: Stage::Sealed,
                given: Given::default(),
                pending: None,
            }),
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
    /// initialise, stays sealed; so does one whose token refuses the PIN, because tokens count wrong ones.
    ///
    /// # Errors
    /// When the provider fails, or the vault cannot be opened.
    pub async fn start(&self) -> Result<(), VaultError> {
        self.0.health.set_ready(false).await;
        let config = &self.0.config;
        let sealed = SealedRoot::read(&config.root_key)?;
        let automatic = sealed.as_ref().is_some_and(SealedRoot::is_automatic);
        if automatic {
            let provider = sealed.as_ref().map_or("", SealedRoot::provider);
            match self.unseal().await {
                Ok(_) => return Ok(()),
                Err(VaultError::Unseal(UnsealError::Refused)) if provider == "pkcs11" => {}
                Err(error) => return Err(error),
            }
        } else if sealed.is_none() && config.unseal.is_automatic() {
            // What is configured unseals by itself: its operators expect a vault that serves.
            return Err(VaultError::NotInitialised);
        }
        tracing::warn!(
            initialised = sealed.is_some(),
            reason = "SEALED",
            "the vault is sealed until an operator unseals it"
        );
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
    ) -> Result<(SealStatus, Vec<ShareText>), VaultError> {
        let state = self.0.state.lock().await;
        // Over this way nothing is ever repeated: whoever finds a vault that he did not make must be told.
        match Vault::sealed(&self.0.config) {
            Ok(sealed) => return Err(InitError::Initialised(sealed.provider()).into()),
            Err(VaultError::NotInitialised) => {}
            Err(error) => return Err(error),
        }
        let shares = init(&self.0.config, &self.0.clock, &new).await?;
        tracing::info!(name = new.provider(), "the vault is initialised");
        Ok((self.status_of(&state)?, texts(&shares)))
    }

    /// Unseals by the provider of the configuration.
    ///
    /// # Errors
    /// [`UnsealError`], and whatever [`Vault::open`] says.
    pub async fn unseal(&self) -> Result<SealStatus, VaultError> {
        let mut state = self.0.state.lock().await;
        if state.may_be_unsealed()? {
            let sealed = Vault::sealed(&self.0.config)?;
            let root = self.open(sealed, Proof::Nothing).await?;
            self.serve(&mut state, root).await?;
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
        if state.may_be_unsealed()? {
            let sealed = Vault::sealed(&self.0.config)?;
            let root = self.open(sealed, Proof::Passphrase(passphrase)).await?;
            self.serve(&mut state, root).await?;
        }
        self.status_of(&state)
    }

    /// Takes one share, and unseals when there are enough; on an unsealed vault, makes the new set of shares count. The same one
    /// twice counts once.
    ///
    /// # Errors
    /// [`UnsealError::Unfit`] for a share of another set; else as [`Self::unseal`].
    pub async fn unseal_by_share(&self, share: Share) -> Result<SealStatus, VaultError> {
        let mut state = self.0.state.lock().await;
        let sealed = match (state.may_be_unsealed()?, &state.pending) {
            (true, _) => Vault::sealed(&self.0.config)?,
            (false, Some(change)) => change.after.clone(),
            (false, None) => return self.status_of(&state),
        };
        let Some((_, threshold)) = sealed.sharing() else {
            return Err(UnsealError::OtherProvider(sealed.provider()).into());
        };
        if let Err(error) = state.given.take(share, &sealed) {
            if matches!(error, UnsealError::Refused) {
                sleep(PENALTY).await;
            }
            return Err(error.into());
        }
        if state.given.shares.len() < usize::from(threshold) {
            return self.status_of(&state);
        }
        let shares = state.given.shares.clone();
        let opened = self.open(sealed, Proof::Shares(shares)).await;
        if matches!(
            opened,
            Ok(_) | Err(VaultError::Unseal(UnsealError::Refused))
        ) {
            state.given = Given::default();
        }
        let root = opened?;
        let Some(change) = state.pending.take() else {
            self.serve(&mut state, root).await?;
            return self.status_of(&state);
        };
        let made = self.replace(&change).await;
        if let Err(error) = &made
            && !matches!(error, VaultError::Unseal(UnsealError::Changed))
        {
            // The disk may take it another time: the shares are out.
            state.pending = Some(change);
        }
        made?;
        self.status_of(&state)
    }

    /// Seals: wipes every key at once, waits for what is under way, and closes the database.
    ///
    /// # Errors
    /// When work under way does not end: it holds keys yet, and the vault says so until it is asked again.
    pub async fn seal(&self) -> Result<SealStatus, VaultError> {
        // Before anything that may be waited for.
        if let Some(vault) = self.shut() {
            vault.wipe();
            tracing::warn!("the vault is being sealed");
        }
        let mut state = self.0.state.lock().await;
        // It may have been unsealed a moment ago.
        if let Some(vault) = self.shut() {
            vault.wipe();
        }
        self.0.health.set_ready(false).await;
        state.given = Given::default();
        state.pending = None;
        state.stage = match std::mem::replace(&mut state.stage, Stage::Sealed) {
            Stage::Sealed => Stage::Sealed,
            Stage::Unsealed(running) | Stage::Sealing(running) => Stage::Sealing(running),
        };
        if let Stage::Sealing(running) = &mut state.stage {
            running.end().await?;
            state.stage = Stage::Sealed;
        }
        // It is sealed, whatever may be read of the file.
        Ok(self.status_of(&state).unwrap_or_else(|_| SealStatus {
            state: proto::SealState::Sealed.into(),
            ..SealStatus::default()
        }))
    }

    /// Seals the root key anew, with `new`. Shares count once enough of them were given ([`Self::unseal_by_share`]); until then
    /// what unsealed the vault before does.
    ///
    /// # Errors
    /// [`VaultError::Sealed`]; [`UnsealError`], of a proof that does not unseal, too.
    pub async fn change_provider(
        &self,
        new: NewSeal,
        proof: Proof,
    ) -> Result<(SealStatus, Vec<ShareText>), VaultError> {
        let mut state = self.0.state.lock().await;
        let Stage::Unsealed(running) = &state.stage else {
            return Err(VaultError::Sealed);
        };
        let config = self.0.config.clone();
        if matches!(new, NewSeal::Development) && !config.development {
            return Err(InitError::NotDevelopment.into());
        }
        let root = running.vault.root().clone();
        let before = Vault::sealed(&config)?;
        self.open(before.clone(), proof).await?;
        let sealing = root.clone();
        let sealed = blocking(move || unseal::seal(&sealing, &new, &config.unseal)).await?;
        if root.is_wiped() {
            return Err(VaultError::Sealed);
        }
        let (after, shares) = sealed?;
        state.given = Given::default();
        state.pending = None;
        let change = Change { before, after };
        if shares.is_empty() {
            self.replace(&change).await?;
        } else {
            tracing::warn!(
                name = change.after.provider(),
                "the root key will be sealed by others, once their shares were given"
            );
            state.pending = Some(change);
        }
        Ok((self.status_of(&state)?, texts(&shares)))
    }

    /// The process is about to stop: hands shards on, so that other vaults serve them before this one stops listening.
    pub async fn retire(&self) {
        // Whoever holds it, a token that hangs for example, must not hold up the end of the process.
        let Ok(mut state) = timeout(RETIRING, self.0.state.lock()).await else {
            return;
        };
        if let Stage::Unsealed(running) = &mut state.stage {
            running.retire().await;
        }
    }

    /// Ends what runs and closes the database.
    ///
    /// # Errors
    /// As [`Self::seal`].
    pub async fn close(&self) -> Result<(), VaultError> {
        self.seal().await.map(drop)
    }

    /// One attempt.
    async fn open(&self, sealed: SealedRoot, proof: Proof) -> Result<RootKey, VaultError> {
        let config = self.0.config.clone();
        let provider = sealed.provider();
        if provider == "development" {
            if !config.development {
                return Err(InitError::NotDevelopment.into());
            }
            tracing::warn!(
                reason = "DEVELOPMENT_KEY",
                "the root key is sealed with a key that everybody has"
            );
        }
        let opened = blocking(move || {
            let secrets = match &proof {
                Proof::Nothing => Secrets::Automatic,
                Proof::Passphrase(text) => Secrets::Passphrase(text),
                Proof::Shares(shares) => Secrets::Shares(shares),
            };
            unseal::open(&sealed, &secrets, &config.unseal)
        });
        let error = match opened.await? {
            Ok(root) => return Ok(root),
            Err(error) => error,
        };
        metrics::counter!("sealpost_vault_unseal_refused_total").increment(1);
        tracing::warn!(name = provider, error = %error, "the root key was not unsealed");
        if matches!(error, UnsealError::Refused) {
            sleep(PENALTY).await;
        }
        Err(error.into())
    }

    async fn serve(&self, state: &mut State, root: RootKey) -> Result<(), VaultError> {
        let vault = Vault::open_with(&self.0.config, self.0.clock.clone(), root).await?;
        state.stage = Stage::Unsealed(Running::of(vault.clone(), self.0.failed.clone()));
        *self.0.open.write().unwrap_or_else(PoisonError::into_inner) = Some(vault);
        self.0.health.set_ready(true).await;
        metrics::gauge!("sealpost_vault_unsealed").set(1.0);
        tracing::info!("the vault is unsealed");
        Ok(())
    }

    /// Makes a change, if what it began from still stands: whatever vault may have made another.
    async fn replace(&self, change: &Change) -> Result<(), VaultError> {
        let (before, after) = (change.before.clone(), change.after.clone());
        let path = self.0.config.root_key.clone();
        let provider = after.provider();
        blocking(move || after.replace(&before, &path)).await??;
        tracing::warn!(
            name = provider,
            "the root key is sealed by another provider"
        );
        Ok(())
    }

    fn shut(&self) -> Option<Vault> {
        let mut open = self.0.open.write().unwrap_or_else(PoisonError::into_inner);
        metrics::gauge!("sealpost_vault_unsealed").set(0.0);
        open.take()
    }

    fn status_of(&self, state: &State) -> Result<SealStatus, VaultError> {
        let sealed = SealedRoot::read(&self.0.config.root_key)?;
        let stage = match &state.stage {
            Stage::Unsealed(_) => proto::SealState::Unsealed,
            Stage::Sealing(_) => proto::SealState::Sealing,
            Stage::Sealed if sealed.is_none() => proto::SealState::Uninitialised,
            Stage::Sealed => proto::SealState::Sealed,
        };
        let pending = state.pending.as_ref().map(|change| &change.after);
        let asked_for = pending.or(sealed.as_ref());
        let (shares, threshold) = asked_for.and_then(SealedRoot::sharing).unwrap_or_default();
        Ok(SealStatus {
            state: stage.into(),
            provider: sealed.map_or("", |sealed| sealed.provider()).to_owned(),
            shares: shares.into(),
            threshold: threshold.into(),
            given: state.given.count(),
            pending: state.pending.is_some(),
        })
    }
}

impl State {
    /// False: it is unsealed already.
    fn may_be_unsealed(&self) -> Result<bool, VaultError> {
        match self.stage {
            Stage::Sealed => Ok(true),
            Stage::Unsealed(_) => Ok(false),
            // Its work under way must end first.
            Stage::Sealing(_) => Err(VaultError::Contention),
        }
    }
}

fn texts(shares: &[Share]) -> Vec<ShareText> {
    shares.iter().map(Share::to_text).collect()
}

async fn blocking<T: Send + 'static>(
    step: impl FnOnce() -> T + Send + 'static,
) -> Result<T, VaultError> {
    tokio::task::spawn_blocking(step)
        .await
        .map_err(|_| VaultError::Stopped)
}
