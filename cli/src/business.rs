//! A suite's first business, as `sealpost send` and `sealpost listen` act for it: its keys from files, its token and its pins
//! from `run.json`.

use anyhow::{Context, anyhow};
use sealpost_connector_sdk::{
    BusinessKeys, Client, EnvelopeError, KeyFiles, NumberId, Pins, SdkError, Settings, Token,
    TrustError,
};

use crate::running::{Running, host_ports};

/// A client of the suite's gateway.
pub fn client(suite: &Running) -> anyhow::Result<Client> {
    let run = &suite.run;
    let mut pins = Pins::new();
    for number in &run.numbers {
        let id: NumberId = number.phone_number_id.parse()?;
        pins.insert(id, number.vault_fingerprint.parse()?);
    }
    let keys = BusinessKeys::read(&KeyFiles {
        hpke_key: run.business.hpke_private_key.clone(),
        signing_key: run.business.signing_private_key.clone(),
        message_id_key: suite.layout.business().join("message-id.key"),
    })
    .context("the business's keys cannot be used")?;
    let settings = Settings {
        address: host_ports(&run.gateway.urls)
            .parse()
            .map_err(|reason| anyhow!("the gateway's URL in run.json: {reason}"))?,
        ca: run.tls.ca.clone(),
        token: Token::new(run.gateway.token.clone()),
        keys,
        pins,
        clock: suite.clock()?,
    };
    Client::connect(settings).map_err(advise)
}

/// Adds to a failure what a person can do about it.
pub fn advise(error: SdkError) -> anyhow::Error {
    let next = match &error {
        SdkError::Unavailable(_) => "see which service is down with `sealpost admin status`",
        SdkError::Deadline {
            is_outcome_unknown: true,
        } => "it may have been accepted: send it again with the same --idempotency-key",
        SdkError::Deadline { .. } => {
            "see which service is down with `sealpost admin status`, then send it again"
        }
        SdkError::RateLimited { .. } | SdkError::Overloaded { .. } => {
            "wait a moment and send it again"
        }
        SdkError::Untrusted(TrustError::Statement(
            EnvelopeError::KeyNotYetValid | EnvelopeError::KeyExpired,
        )) => {
            "this machine's clock and the key vault's differ: set them right (`sealpost admin clock show`)"
        }
        SdkError::Untrusted(_) => {
            "compare the vault fingerprint in run.json with `sealpost admin vault number`; do not send until they agree"
        }
        SdkError::Unauthenticated | SdkError::NotAllowed => {
            "make a token with `sealpost admin token issue`"
        }
        SdkError::NotProvisioned | SdkError::Undecryptable => {
            "register the business's public keys with `sealpost admin number provision`"
        }
        SdkError::Conflict => "choose another --idempotency-key",
        SdkError::NotFound => "this number sent no such message",
        SdkError::Subscription => "a name is 1 to 64 of a-z, 0-9, dot, underscore and hyphen",
        _ => return error.into(),
    };
    anyhow::Error::new(error).context(next)
}
