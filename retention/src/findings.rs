//! What a run has done so far, and what went wrong first.
//!
//! Pure. A failure never stops the rest of a run.

use std::collections::BTreeMap;

use tonic::{Code, Status};

use crate::receipt::Epoch;

/// What can go wrong in a run; the names are fixed and shown to operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The vault does not answer.
    VaultUnavailable,
    /// The vault answers, and refuses: its clock may need an operator.
    VaultRefused,
    /// A receipt was not believed; its rows were not deleted on its word.
    ReceiptInvalid,
    /// A store does not answer; its rows are taken up again by the next run.
    StoreUnavailable,
    /// A store answers, and refuses.
    StoreRefused,
    /// A relay does not answer.
    RelayUnavailable,
    /// A relay answers, and refuses.
    RelayRefused,
    /// Retention's own database failed.
    Database,
}

impl Failure {
    /// The fixed code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::VaultUnavailable => "VAULT_UNAVAILABLE",
            Self::VaultRefused => "VAULT_REFUSED",
            Self::ReceiptInvalid => "RECEIPT_INVALID",
            Self::StoreUnavailable => "STORE_UNAVAILABLE",
            Self::StoreRefused => "STORE_REFUSED",
            Self::RelayUnavailable => "RELAY_UNAVAILABLE",
            Self::RelayRefused => "RELAY_REFUSED",
            Self::Database => "DATABASE",
        }
    }

    pub(crate) fn of_vault(status: &Status) -> Self {
        if is_silence(status) {
            Self::VaultUnavailable
        } else {
            Self::VaultRefused
        }
    }

    pub(crate) fn of_store(status: &Status) -> Self {
        if is_silence(status) {
            Self::StoreUnavailable
        } else {
            Self::StoreRefused
        }
    }

    pub(crate) fn of_relay(status: &Status) -> Self {
        if is_silence(status) {
            Self::RelayUnavailable
        } else {
            Self::RelayRefused
        }
    }
}

fn is_silence(status: &Status) -> bool {
    let silent = [
        Code::Unavailable,
        Code::DeadlineExceeded,
        Code::Cancelled,
        Code::Unknown,
    ];
    silent.contains(&status.code())
}

/// What a run has done so far; of a dry run, what would be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Epochs whose keys were destroyed in the vault.
    pub epochs: Vec<Epoch>,
    /// Rows deleted in stores.
    pub store_rows: u64,
    /// Rows deleted in relays.
    pub relay_rows: u64,
    /// Rows by place and table; a place that counts all together has an empty table.
    pub rows: BTreeMap<(String, String), u64>,
    /// What went wrong first.
    pub failure: Option<Failure>,
}

impl Findings {
    /// Notes a failure; the first one stays.
    pub fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    /// Notes rows of a table.
    pub(crate) fn add(&mut self, place: &str, table: &str, rows: u64) {
        if rows > 0 {
            *self
                .rows
                .entry((place.to_owned(), table.to_owned()))
                .or_default() += rows;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_stays() {
        let mut findings = Findings::default();
        findings.fail(Failure::StoreUnavailable);
        findings.fail(Failure::RelayRefused);
        assert_eq!(findings.failure, Some(Failure::StoreUnavailable));
    }

    #[test]
    fn silence_is_told_from_refusal() {
        let refused = Status::failed_precondition("the clock is unconfirmed");
        assert_eq!(Failure::of_vault(&refused), Failure::VaultRefused);
        let silent = Status::deadline_exceeded("no answer in time");
        assert_eq!(Failure::of_store(&silent), Failure::StoreUnavailable);
        assert_eq!(
            Failure::of_relay(&Status::unavailable("")),
            Failure::RelayUnavailable
        );
    }
}
