//! The business's app as the connector sees it: one URL that takes webhooks.

use std::{fs, time::Duration};

use reqwest::{Certificate, Client, Url, header::CONTENT_TYPE, redirect};
use sealpost_connector_sdk::{KeyFileError, Secret, read_text};
use sealpost_envelope::OsEntropy;
use thiserror::Error;
use zeroize::Zeroizing;

use super::{SIGNATURE_HEADER, sign};
use crate::config::WebhookConfig;

/// How long the app may take to answer.
const DEADLINE: Duration = Duration::from_secs(15);
/// No answer to the verification is read beyond this.
const MAX_ANSWER: usize = 4096;

/// Where webhooks go.
pub struct App {
    client: Client,
    url: Url,
    secret: Zeroizing<String>,
    verify_token: Zeroizing<String>,
}

/// Why there is no app to send to.
#[derive(Debug, Error)]
pub enum AppError {
    /// A secret's file cannot be used.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The authority's file cannot be used.
    #[error("webhook.ca cannot be used")]
    Authority,
    /// The HTTP client cannot be built.
    #[error("the webhook's client cannot be built")]
    Client,
}

/// How the app answered the verification request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// With the challenge.
    Verified,
    /// With something else.
    Refused,
    /// Not at all.
    Unreachable,
}

impl App {
    /// The app of the configuration, if it names one. `rustls`'s default provider must be installed.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn open(config: &WebhookConfig) -> Result<Option<Self>, AppError> {
        let secret = read_text(&config.app_secret_file)?;
        let verify_token = read_text(&config.verify_token_file)?;
        let Some(url) = config.url.clone() else {
            return Ok(None);
        };
        // What is signed for one URL must not follow a redirect to another, nor pass a proxy of the environment.
        let mut client = Client::builder()
            .timeout(DEADLINE)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("sealpost-connector/", env!("CARGO_PKG_VERSION")));
        if let Some(ca) = &config.ca {
            let pem = fs::read(ca).map_err(|_| AppError::Authority)?;
            let authority = Certificate::from_pem(&pem).map_err(|_| AppError::Authority)?;
            client = client
                .tls_built_in_root_certs(false)
                .add_root_certificate(authority);
        }
        let client = client.build().map_err(|_| AppError::Client)?;
        Ok(Some(Self {
            client,
            url,
            secret,
            verify_token,
        }))
    }

    /// Posts a signed body; answers whether the app took it (any 2xx).
    pub async fn post(&self, body: &[u8]) -> bool {
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(SIGNATURE_HEADER, sign(&self.secret, body))
            .body(body.to_vec());
        match request.send().await {
            Ok(answer) => answer.status().is_success(),
            Err(_) => false,
        }
    }

    /// Asks the app to prove that it knows the verify token, as the Cloud API does when a webhook is subscribed.
    pub async fn verify(&self) -> Verification {
        let Ok(random) = Secret::<16>::generate(&mut OsEntropy) else {
            return Verification::Unreachable;
        };
        let challenge = hex::encode(random.expose());
        let mut url = self.url.clone();
        url.query_pairs_mut()
            .append_pair("hub.mode", "subscribe")
            .append_pair("hub.challenge", &challenge)
            .append_pair("hub.verify_token", &self.verify_token);
        let Ok(mut answer) = self.client.get(url).send().await else {
            return Verification::Unreachable;
        };
        if !answer.status().is_success() {
            return Verification::Refused;
        }
        let mut text = Vec::new();
        while let Ok(Some(chunk)) = answer.chunk().await {
            text.extend_from_slice(&chunk);
            if text.len() > MAX_ANSWER {
                return Verification::Refused;
            }
        }
        if text.trim_ascii() == challenge.as_bytes() {
            Verification::Verified
        } else {
            Verification::Refused
        }
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("App")
    }
}
