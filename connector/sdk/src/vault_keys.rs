//! Fetches vault keys and keeps what is believed of each number ([`crate::trust`] judges).

use std::collections::BTreeMap;

use sealpost_envelope::{NumberId, PublishedKey, UnixMillis, VerifyingKey};
use sealpost_proto::gateway::v1::GetVaultKeyRequest;
use sealpost_runtime::Clock;
use tokio::{sync::Mutex, time::timeout};
use tonic::Code;

use crate::{Pins, SdkError, TrustError, gateway::Gateway, trust::Trust};

/// How long one fetch may take.
const FETCH: std::time::Duration = std::time::Duration::from_secs(10);

pub(crate) struct VaultKeys {
    gateway: Gateway,
    clock: Clock,
    numbers: BTreeMap<NumberId, Mutex<Trust>>,
}

impl VaultKeys {
    pub(crate) fn new(gateway: Gateway, clock: Clock, pins: Pins) -> Self {
        let numbers = pins
            .into_iter()
            .map(|(number, pin)| (number.clone(), Mutex::new(Trust::new(number, pin))))
            .collect();
        Self {
            gateway,
            clock,
            numbers,
        }
    }

    /// The numbers that a fingerprint is pinned for.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = &NumberId> {
        self.numbers.keys()
    }

    pub(crate) fn now(&self) -> UnixMillis {
        UnixMillis(self.clock.now().as_millis())
    }

    /// A key to wrap for: the newest that the gateway has; the last one while it still holds, when the gateway does not answer.
    pub(crate) async fn fresh(&self, number: &NumberId) -> Result<PublishedKey, SdkError> {
        let mut trust = self.slot(number)?.lock().await;
        let fetched = self.fetch(number, &mut trust).await;
        match (fetched, trust.published(self.now())) {
            (Err(error), _) if !error.is_transient() => Err(error),
            (_, Some(key)) => Ok(key.clone()),
            (Err(error), None) => Err(error),
            (Ok(()), None) => Err(SdkError::Untrusted(TrustError::Missing)),
        }
    }

    /// The vault signing key to verify with; asks the gateway when none is known yet, or when `anew`.
    pub(crate) async fn signer(
        &self,
        number: &NumberId,
        anew: bool,
    ) -> Result<VerifyingKey, SdkError> {
        let mut trust = self.slot(number)?.lock().await;
        if anew || trust.signer().is_none() {
            self.fetch(number, &mut trust).await?;
        }
        let signer = trust.signer().copied();
        signer.ok_or(SdkError::Untrusted(TrustError::Missing))
    }

    fn slot(&self, number: &NumberId) -> Result<&Mutex<Trust>, SdkError> {
        self.numbers.get(number).ok_or(SdkError::UnknownNumber)
    }

    async fn fetch(&self, number: &NumberId, trust: &mut Trust) -> Result<(), SdkError> {
        let request = GetVaultKeyRequest {
            phone_number_id: number.as_str().to_owned(),
        };
        let mut gateway = self.gateway.clone();
        let answer = timeout(FETCH, gateway.get_vault_key(request))
            .await
            .map_err(|_| SdkError::Unavailable(Code::DeadlineExceeded))?
            .map_err(|status| SdkError::from_status(&status))?
            .into_inner()
            .key
            .ok_or(TrustError::Missing)?;
        let learned = trust.learn(&answer, self.now());
        if let Err(error) = learned
            && !error.is_transient()
        {
            metrics::counter!("sealpost_connector_untrusted_vault_keys_total").increment(1);
            tracing::error!(%error, "the gateway presented a vault key that is not to be trusted");
        }
        Ok(learned?)
    }
}
