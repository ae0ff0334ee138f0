//! The business at the wire: content keys, wraps and sealed messages made by hand, and vault calls in the gateway's name. For
//! tests in which the gateway is the adversary.

use anyhow::{Context, bail};
use sealpost_envelope::{
    Category, ContentKey, Direction, HeaderFields, MessageId, NumberId, OsEntropy, Peer, Secret,
    SigningKey, UnixMillis, Validity, VaultKeyCheck, VaultKeyStatement, VerifyingKey,
    WrapDirection, WrapTerms, seal_wrap,
};
use sealpost_proto::content::v1::{Content, Text, content::Body};
use sealpost_proto::envelope::v1::{PublishedVaultKey, SealedMessage};
use sealpost_proto::vault::v1::key_vault_service_client::KeyVaultServiceClient;
use sealpost_proto::vault::v1::{
    AdmitItem, AdmitOutcome, AdmitRequest, GetPublishedKeyRequest, admit_outcome,
};
use sealpost_runtime::{Clock, Role};
use tonic::transport::Channel;

use crate::Suite;
use crate::channel::channel;

/// A content key and the wrap that brings it to the vault.
pub struct Sealer {
    /// The number it serves.
    pub number: String,
    /// The key.
    pub key: ContentKey,
    /// Its wrap.
    pub wrap: bytes::Bytes,
}

impl Sealer {
    /// Makes a content key for a number and wraps it for its vault, as the suite's business.
    ///
    /// # Errors
    /// When the vault's key does not verify.
    pub async fn new(
        suite: &Suite,
        vault: &mut KeyVaultServiceClient<Channel>,
        number: usize,
    ) -> anyhow::Result<Self> {
        let id = suite.number(number).to_owned();
        let request = GetPublishedKeyRequest {
            phone_number_id: id.clone(),
        };
        let published = vault
            .get_published_key(request)
            .await?
            .into_inner()
            .key
            .context("a key")?;
        Self::for_key(suite, number, &published)
    }

    /// The same for a key that somebody published.
    ///
    /// # Errors
    /// When it does not verify.
    pub fn for_key(
        suite: &Suite,
        number: usize,
        published: &PublishedVaultKey,
    ) -> anyhow::Result<Self> {
        let id = NumberId::new(suite.number(number))?;
        let signer = VerifyingKey::from_bytes(published.signing_key.as_ref().try_into()?)?;
        let fingerprint = hex::encode(signer.fingerprint().as_bytes());
        anyhow::ensure!(
            fingerprint == suite.facts().numbers[number].vault_fingerprint,
            "not the pinned vault"
        );
        let check = VaultKeyCheck {
            number: &id,
            signer: &signer,
            highest_sequence: 0,
        };
        let vault = VaultKeyStatement::verify(&published.statement, &check, now())?;

        let seed = std::fs::read(&suite.facts().business.signing_private_key)?;
        let business = SigningKey::from_seed(&Secret::from_slice(&seed)?);
        let validity = Validity::new(now(), UnixMillis(now().0 + 3_600_000))?;
        let terms = WrapTerms::new(id, WrapDirection::Outbound, validity)?;
        let (key, wrap) = seal_wrap(&terms, &business, vault.public_key(), &mut OsEntropy)?;
        Ok(Self {
            number: suite.number(number).to_owned(),
            key,
            wrap: wrap.into(),
        })
    }

    /// Seals words to a consumer under a fresh message id.
    ///
    /// # Errors
    /// When `to` is no phone number.
    pub fn text(&self, to: &str, words: &str) -> anyhow::Result<AdmitItem> {
        let fields = HeaderFields {
            direction: Direction::Outbound,
            peer: Peer::new(to)?,
            message_id: MessageId::generate(&mut OsEntropy)?,
            category: Category::Utility,
            time: now(),
        };
        let body = Body::Text(Text {
            body: words.to_owned(),
            preview_url: false,
        });
        let content = prost::Message::encode_to_vec(&Content {
            body: Some(body),
            context: None,
        });
        let sealed = self.key.seal(&fields, &content, &mut OsEntropy)?;
        Ok(AdmitItem {
            phone_number_id: self.number.clone(),
            message: Some(SealedMessage {
                header: sealed.header,
                body: sealed.body,
            }),
            wrap: self.wrap.clone(),
        })
    }
}

impl Suite {
    /// A channel to a service's mTLS face, as `role`.
    ///
    /// # Errors
    /// When no certificate can be issued.
    pub async fn as_role(&self, role: Role, service: &str) -> anyhow::Result<Channel> {
        let certificate = self.issue(role, "test", 1).await?;
        channel(self.facts().grpc(service)?, Some(&certificate))
    }
}

/// Admits one item, as the gateway.
///
/// # Errors
/// When the call fails as a whole.
pub async fn admit(
    vault: &mut KeyVaultServiceClient<Channel>,
    item: AdmitItem,
) -> anyhow::Result<admit_outcome::Outcome> {
    let request = AdmitRequest {
        batch_id: 1,
        items: vec![item],
    };
    let mut answers = vault
        .admit(tokio_stream::iter([request]))
        .await?
        .into_inner();
    let answer = answers
        .message()
        .await?
        .context("the vault answers a batch")?;
    match answer.outcomes.into_iter().next() {
        Some(AdmitOutcome {
            outcome: Some(outcome),
        }) => Ok(outcome),
        _ => bail!("an outcome for the item"),
    }
}

/// What time it is.
#[must_use]
pub fn now() -> UnixMillis {
    UnixMillis(Clock::system().now().as_millis())
}
