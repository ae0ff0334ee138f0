//! Where the vault's own secrets live: sealed root key, keyring folder, clock mark, erasure journal, receipt key, sealed rows.
//!
//! Owns files and sealing; knows no message and no table's meaning. Invariants: nothing secret is written unsealed, but the key of
//! a key file, which its permissions guard; an epoch's key exists in the keyring and nowhere else on disk.

mod files;
pub mod init;
mod journal;
mod keyring;
mod receipt;
mod root;
mod sealing;
mod time;
pub mod unseal;

pub(crate) use journal::{Entry, Erased, Journal};
pub(crate) use keyring::{EpochKey, Keyring, KeyringError};
pub(crate) use receipt::ReceiptKey;
pub(crate) use root::RootKey;
pub(crate) use sealing::{Place, SealingKey};
pub(crate) use time::{ClockUnconfirmed, Now, TimeKeeper};
