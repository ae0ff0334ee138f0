//! The first start: root key, keyring and database, each made when it is absent.
//!
//! Invariant: a root key is never made beside a keyring or a database that an earlier one sealed, nor a time mark beside epoch
//! keys.

use sealpost_database::{Database, DatabaseError, PoolOptions};
use sealpost_envelope::{EnvelopeError, OsEntropy};
use sealpost_runtime::Clock;
use thiserror::Error;

use super::{
    Keyring, KeyringError, ReceiptKey, RootKey,
    unseal::{self, NewSeal, SealedRoot, Secrets, Share, UnsealError},
};
use crate::{config::Config, datastore};

/// Why the vault could not be made.
#[derive(Debug, Error)]
pub enum InitError {
    /// The root key, or its provider.
    #[error(transparent)]
    RootKey(#[from] UnsealError),
    /// A keyring or database is there whose root key is missing.
    #[error("the root key's file is missing, but a keyring or database sealed under it is there")]
    Stranded,
    /// There is a root key that only persons unseal, or another provider does.
    #[error("the vault is initialised already, by the provider {0}")]
    Initialised(&'static str),
    /// `development` is a provider for development alone.
    #[error("the provider development needs development = true")]
    NotDevelopment,
    /// Somebody took the keyring's time mark: with a new one, a clock that was set back would go unseen.
    #[error("the keyring holds epoch keys, but its time mark is missing")]
    MarkMissing,
    /// The keyring.
    #[error("the keyring could not be made")]
    Keyring(#[source] KeyringError),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The system gave no randomness.
    #[error("a key could not be made")]
    ReceiptKey(#[from] EnvelopeError),
}

/// Whether a server's database holds what a root key sealed.
async fn is_sealed(config: &Config) -> Result<bool, DatabaseError> {
    let database = open(config).await?;
    let sealed = database
        .read("init", |db| {
            Box::pin(async move { datastore::vault_key_find(db, datastore::RECEIPT_KEY).await })
        })
        .await?;
    database.close().await?;
    Ok(sealed.is_some())
}

async fn open(config: &Config) -> Result<Database, DatabaseError> {
    Database::open(
        config.database.clone(),
        datastore::MIGRATIONS,
        PoolOptions::default(),
    )
    .await
}

/// Makes what is absent, the root key with the provider `new`. Safe to repeat with a provider that unseals by itself. Answers the
/// shares, when the provider makes some: they are nowhere else.
///
/// # Errors
/// When something cannot be made, or would strand what is there.
pub async fn init(config: &Config, clock: &Clock, new: &NewSeal) -> Result<Vec<Share>, InitError> {
    if matches!(new, NewSeal::Development) && !config.development {
        return Err(InitError::NotDevelopment);
    }
    let database_there = match config.database.url.file() {
        Some(file) => file.exists(),
        None => is_sealed(config).await?,
    };
    let keyring_there = Keyring::exists(&config.keyring);
    if !keyring_there && Keyring::has_epochs(&config.keyring).map_err(InitError::Keyring)? {
        return Err(InitError::MarkMissing);
    }
    let (root, shares) = match SealedRoot::read(&config.root_key)? {
        Some(sealed) if sealed.is_automatic() && sealed.provider() == new.provider() => {
            let root = unseal::open(&sealed, &Secrets::Automatic, &config.unseal)?;
            (root, Vec::new())
        }
        Some(sealed) if database_there || keyring_there => {
            return Err(InitError::Initialised(sealed.provider()));
        }
        None if database_there || keyring_there => return Err(InitError::Stranded),
        // With nothing beside it, a root key seals nothing: whoever made it died before the rest, and perhaps before its shares
        // were told.
        stray => {
            let root = RootKey::generate(&mut OsEntropy)?;
            let (sealed, shares) = unseal::seal(&root, new, &config.unseal)?;
            match stray {
                Some(stray) => sealed.replace(&stray, &config.root_key)?,
                None => sealed.create(&config.root_key)?,
            }
            (root, shares)
        }
    };
    if !keyring_there {
        Keyring::create(&config.keyring, &root, clock.now()).map_err(InitError::Keyring)?;
    }

    let database = open(config).await?;
    let sealed = ReceiptKey::create(&root, &mut OsEntropy)?;
    database
        .run_tx("init", move |tx| {
            let sealed = sealed.clone();
            Box::pin(async move {
                datastore::vault_key_insert(tx, datastore::RECEIPT_KEY, &sealed).await
            })
        })
        .await?;
    database.close().await?;
    Ok(shares)
}
