//! The one mapping of errors to gRPC statuses.

use std::time::Duration;

use sealpost_runtime::status::{bad_request, internal, reason_status, retry_after, unavailable};
use tonic::{Code, Status};

use crate::{
    VaultError,
    custody::{init::InitError, unseal::UnsealError},
};

const RETRY: Duration = Duration::from_millis(100);

impl From<VaultError> for Status {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Malformed { field, problem } => bad_request(field, problem),
            VaultError::NumberUnknown => reason_status(
                Code::NotFound,
                "NUMBER_UNKNOWN",
                "the vault has no such number",
            ),
            VaultError::NumberRemoved => reason_status(
                Code::FailedPrecondition,
                "NUMBER_REMOVED",
                "a number of that id was removed in the last 35 days; give the new one another",
            ),
            VaultError::BusinessKeysMissing => reason_status(
                Code::FailedPrecondition,
                "BUSINESS_KEYS_MISSING",
                "no business keys are registered for the number",
            ),
            VaultError::ClockUnconfirmed => reason_status(
                Code::FailedPrecondition,
                "CLOCK_UNCONFIRMED",
                "the vault's clock jumped; an operator must confirm it",
            ),
            VaultError::ClockDisagrees => reason_status(
                Code::FailedPrecondition,
                "CLOCK_DISAGREES",
                "the given time is more than a minute from the vault's clock",
            ),
            VaultError::Sealed => reason_status(
                Code::FailedPrecondition,
                "SEALED",
                "the vault is sealed; an operator must unseal it",
            ),
            VaultError::Init(InitError::Initialised(_)) => reason_status(
                Code::FailedPrecondition,
                "INITIALISED",
                "the vault is initialised already",
            ),
            VaultError::Init(InitError::NotDevelopment) => reason_status(
                Code::FailedPrecondition,
                "NOT_DEVELOPMENT",
                "the provider development needs development = true in the vault's configuration",
            ),
            VaultError::Init(InitError::RootKey(error)) | VaultError::Unseal(error) => {
                unsealing(&error)
            }
            VaultError::NotInitialised => reason_status(
                Code::FailedPrecondition,
                "NOT_INITIALISED",
                "the vault has no root key yet; an operator must initialise it",
            ),
            VaultError::Contention => retry_after("CONTENTION", RETRY),
            VaultError::Database(error) if error.is_conflict() => retry_after("CONTENTION", RETRY),
            VaultError::Database(error) if error.is_unknown_outcome() => {
                unavailable("OUTCOME_UNKNOWN")
            }
            VaultError::Database(_)
            | VaultError::Keyring(_)
            | VaultError::Init(_)
            | VaultError::Sealing(_)
            | VaultError::Number(_)
            | VaultError::Signal
            | VaultError::Stopped => {
                tracing::error!(error = %error, "call failed");
                internal()
            }
        }
    }
}

/// What an operator is told of a root key that does not unseal, and what only the log says.
fn unsealing(error: &UnsealError) -> Status {
    match error {
        UnsealError::Refused => reason_status(
            Code::PermissionDenied,
            "UNSEAL_REFUSED",
            "the secret does not unseal the root key",
        ),
        UnsealError::OtherProvider(_) => reason_status(
            Code::FailedPrecondition,
            "OTHER_PROVIDER",
            "the root key was sealed by another provider; ask for the seal's status",
        ),
        UnsealError::NotConfigured(_) => reason_status(
            Code::FailedPrecondition,
            "PROVIDER_NOT_CONFIGURED",
            "the vault's configuration does not say where that provider is",
        ),
        UnsealError::Unfit(problem) => bad_request("secret", problem),
        UnsealError::Changed => retry_after("CONTENTION", RETRY),
        UnsealError::File(..)
        | UnsealError::Malformed(..)
        | UnsealError::Token(_)
        | UnsealError::NoRandomness => {
            tracing::error!(error = %error, "the unseal provider failed");
            reason_status(
                Code::Unavailable,
                "PROVIDER_FAILED",
                "the unseal provider failed; the vault's log says how",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sealpost_database::DatabaseError;
    use sealpost_runtime::status::{reason_of, retry_delay_of};

    use super::*;

    #[test]
    fn every_error_has_its_code_and_reason() {
        let cases = [
            (
                VaultError::malformed("limit", "is 0"),
                Code::InvalidArgument,
                "MALFORMED",
            ),
            (VaultError::NumberUnknown, Code::NotFound, "NUMBER_UNKNOWN"),
            (
                VaultError::NumberRemoved,
                Code::FailedPrecondition,
                "NUMBER_REMOVED",
            ),
            (
                VaultError::BusinessKeysMissing,
                Code::FailedPrecondition,
                "BUSINESS_KEYS_MISSING",
            ),
            (
                VaultError::ClockUnconfirmed,
                Code::FailedPrecondition,
                "CLOCK_UNCONFIRMED",
            ),
            (
                VaultError::ClockDisagrees,
                Code::FailedPrecondition,
                "CLOCK_DISAGREES",
            ),
            (VaultError::Sealed, Code::FailedPrecondition, "SEALED"),
            (
                VaultError::NotInitialised,
                Code::FailedPrecondition,
                "NOT_INITIALISED",
            ),
            (
                UnsealError::Refused.into(),
                Code::PermissionDenied,
                "UNSEAL_REFUSED",
            ),
            (
                UnsealError::OtherProvider("shamir").into(),
                Code::FailedPrecondition,
                "OTHER_PROVIDER",
            ),
            (
                UnsealError::NotConfigured("pkcs11").into(),
                Code::FailedPrecondition,
                "PROVIDER_NOT_CONFIGURED",
            ),
            (
                UnsealError::Token("gone".to_owned()).into(),
                Code::Unavailable,
                "PROVIDER_FAILED",
            ),
            (
                InitError::Initialised("shamir").into(),
                Code::FailedPrecondition,
                "INITIALISED",
            ),
            (VaultError::Contention, Code::Aborted, "CONTENTION"),
            (
                DatabaseError::UnknownOutcome(None).into(),
                Code::Unavailable,
                "OUTCOME_UNKNOWN",
            ),
            (DatabaseError::Closed.into(), Code::Internal, "INTERNAL"),
            (VaultError::Stopped, Code::Internal, "INTERNAL"),
        ];
        for (error, code, reason) in cases {
            let status = Status::from(error);
            assert_eq!(
                (status.code(), reason_of(&status).as_deref()),
                (code, Some(reason))
            );
        }
        assert_eq!(
            retry_delay_of(&Status::from(VaultError::Contention)),
            Some(RETRY)
        );
    }
}
