//! What both faces share: the datastore, the clock, the key, who listens, and how often who may do what.

use std::{sync::Arc, time::Duration};

use sealpost_proto::relay::v1 as wire;
use sealpost_runtime::Clock;
use tokio::time::Instant;

use crate::{
    BundleKey, CodeSender, Datastore, LimitsConfig, RelayError,
    auth::{TokenDigest, TokenText},
    codes::{ATTEMPTS, Code, CodeDigests, LIFETIME},
    datastore::{Handing, Said, Uncollected},
    hub::Hub,
    ids::{DeviceIdentity, HolderId, PhoneNumber, random},
    rate::{RateLimit, Source},
    together::Together,
    tokens::Tokens,
    upload::FullUpload,
    validate::{self, FromDevice},
};

const HOUR: Duration = Duration::from_secs(3600);

/// One relay.
pub struct Relay {
    pub(crate) datastore: Datastore,
    pub(crate) clock: Clock,
    pub(crate) key: BundleKey,
    pub(crate) hub: Arc<Hub>,
    pub(crate) limits: LimitsConfig,
    pub(crate) bundles_per_device: RateLimit<HolderId>,
    together: Together,
    tokens: Tokens,
    digests: CodeDigests,
    sender: Arc<dyn CodeSender>,
    codes_per_number: RateLimit<PhoneNumber>,
    codes_per_source: RateLimit<Source>,
    guesses_per_number: RateLimit<PhoneNumber>,
    guesses_per_source: RateLimit<Source>,
}

impl Relay {
    /// Over an open datastore.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn new(
        datastore: Datastore,
        clock: Clock,
        key: BundleKey,
        sender: Arc<dyn CodeSender>,
        limits: LimitsConfig,
    ) -> Self {
        let guesses = limits
            .codes_per_number
            .saturating_mul(ATTEMPTS.unsigned_abs() as u32);
        let hub = Arc::default();
        let together = Together::start(&datastore, &hub, &clock, limits.number_queue);
        Self {
            datastore,
            clock,
            together,
            tokens: Tokens::default(),
            digests: CodeDigests::new(key.code_key()),
            key,
            hub,
            sender,
            bundles_per_device: RateLimit::new(limits.bundles_per_device, HOUR),
            codes_per_number: RateLimit::new(limits.codes_per_number, HOUR),
            codes_per_source: RateLimit::new(limits.codes_per_source, HOUR),
            guesses_per_number: RateLimit::new(guesses, HOUR),
            guesses_per_source: RateLimit::new(limits.codes_per_source, HOUR),
            limits,
        }
    }

    /// Milliseconds since the Unix epoch, as the tables keep it.
    pub(crate) fn now(&self) -> i64 {
        i64::try_from(self.clock.now().as_millis()).unwrap_or(i64::MAX)
    }

    /// The device that holds `token`.
    ///
    /// # Errors
    /// `DeviceUnknown` when none does.
    pub(crate) async fn authenticate(&self, token: &str) -> Result<DeviceIdentity, RelayError> {
        let token = TokenDigest::of(token);
        match self.tokens.find(&token, Instant::now()) {
            Ok(device) => Ok(device),
            Err(begun) => {
                let device = self.datastore.device_by_token(token).await?;
                self.tokens.remember(token, &device, begun);
                Ok(device)
            }
        }
    }

    /// Sends a code; when it ends, in milliseconds since the Unix epoch.
    pub(crate) async fn send_code(
        &self,
        number: PhoneNumber,
        source: Option<Source>,
    ) -> Result<u64, RelayError> {
        let now = self.clock.now();
        if let Some(source) = source {
            let taken = self.codes_per_source.take(source, now);
            taken.map_err(|wait| RelayError::TooMany {
                subject: "codes from one source",
                wait,
            })?;
        }
        let taken = self.codes_per_number.take(number.clone(), now);
        taken.map_err(|wait| RelayError::TooMany {
            subject: "codes for one number",
            wait,
        })?;

        let code = Code::random()?;
        let expires_at_ms = (now + LIFETIME).as_millis();
        let expires_at = i64::try_from(expires_at_ms).unwrap_or(i64::MAX);
        let digest = self.digests.digest(&number, &code);
        self.datastore
            .keep_code(number.clone(), digest, expires_at)
            .await?;
        let sent = self
            .sender
            .send(number.as_str(), code.reveal(), expires_at_ms)
            .await;
        sent.map_err(RelayError::CodeNotSent)?;
        metrics::counter!("sealpost_relay_codes_sent_total").increment(1);
        Ok(expires_at_ms)
    }

    /// Puts a new device in the place of all that the number had; its device id and its token.
    pub(crate) async fn register_device(
        &self,
        number: PhoneNumber,
        code: Code,
        keys: FullUpload,
        source: Option<Source>,
    ) -> Result<(u32, TokenText), RelayError> {
        let now = self.clock.now();
        if let Some(source) = source {
            let taken = self.guesses_per_source.take(source, now);
            taken.map_err(|wait| RelayError::TooMany {
                subject: "registrations from one source",
                wait,
            })?;
        }
        let taken = self.guesses_per_number.take(number.clone(), now);
        taken.map_err(|wait| RelayError::TooMany {
            subject: "registrations of one number",
            wait,
        })?;

        let token = TokenText::from_random(random()?);
        let digests = self.digests.clone();
        let registered = self
            .datastore
            .register(number, code, digests, keys, token.digest(), self.now())
            .await?;
        self.tokens.forget(&registered.replaced);
        for device in registered.replaced {
            self.hub.dismiss(device);
        }
        metrics::counter!("sealpost_relay_devices_registered_total").increment(1);
        Ok((registered.device_id, token))
    }

    /// Deletes a device's registration on its own word, and what is remembered of its person.
    pub(crate) async fn unregister(&self, device: DeviceIdentity) -> Result<(), RelayError> {
        self.forget_person(device.phone_number, Uncollected::Stay)
            .await?;
        metrics::counter!("sealpost_relay_devices_unregistered_total").increment(1);
        Ok(())
    }

    /// Deletes everything of a consumer; rows deleted.
    pub(crate) async fn remove_consumer(&self, peer: PhoneNumber) -> Result<u64, RelayError> {
        self.forget_person(peer, Uncollected::Go).await
    }

    async fn forget_person(
        &self,
        person: PhoneNumber,
        uncollected: Uncollected,
    ) -> Result<u64, RelayError> {
        let (devices, rows) = self.datastore.remove_consumer(person, uncollected).await?;
        self.tokens.forget(&devices);
        for device in devices {
            self.hub.dismiss(device);
        }
        Ok(rows)
    }

    /// Takes one of the gateway's batches.
    pub(crate) async fn submit(
        &self,
        batch: wire::SubmitRequest,
    ) -> Result<wire::SubmitResponse, RelayError> {
        validate::at_most("items", batch.items.len())?;
        let now = self.now();
        let items = batch
            .items
            .into_iter()
            .map(|item| validate::submit_item(item, now))
            .collect();
        let (outcomes, queued) = self
            .datastore
            .submit(items, self.limits.device_queue, now)
            .await?;
        self.hub.hand_devices(queued);
        for outcome in &outcomes {
            let name = outcome.as_str_name();
            metrics::counter!("sealpost_relay_submitted_total", "outcome" => name).increment(1);
        }
        Ok(wire::SubmitResponse {
            batch_id: batch.batch_id,
            outcomes: outcomes.into_iter().map(Into::into).collect(),
        })
    }

    /// Takes a device's acknowledgements and receipts; an outcome for each receipt.
    pub(crate) async fn hear(&self, said: Said) -> Result<Vec<wire::ReceiptOutcome>, RelayError> {
        self.together.hear(said).await
    }

    /// Takes a device's messages; an outcome for each.
    pub(crate) async fn hand_over(
        &self,
        device: DeviceIdentity,
        messages: Vec<FromDevice>,
    ) -> Result<Vec<wire::SubmitMessageOutcome>, RelayError> {
        self.together.hand_over(Handing { device, messages }).await
    }
}
