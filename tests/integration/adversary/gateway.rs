//! A dishonest gateway's means: its certificate at vault and relay, and the business's messages as they pass.

use anyhow::Context;
use sealpost_proto::record::v1::Record;
use sealpost_proto::relay::v1::FetchBundleRequest;
use sealpost_proto::relay::v1::platform_service_client::PlatformServiceClient;
use sealpost_proto::signal::v1::SignedBundle;
use sealpost_proto::vault::v1::key_vault_service_client::KeyVaultServiceClient;
use sealpost_proto::vault::v1::{
    AdmitItem, Admitted, CheckRequest, DecryptItem, DecryptRequest, DeliverItem, DeliverRequest,
    EncryptItem, EncryptRequest, Refusal, admit_outcome, decrypt_outcome, deliver_outcome,
    encrypt_outcome,
};
use sealpost_runtime::Role;
use sealpost_tests::Suite;
use sealpost_tests::business::{Sealer, admit};
use tonic::transport::Channel;

/// A dishonest gateway's means: its certificate, and the business's messages as they pass.
pub struct Gateway {
    pub vault: KeyVaultServiceClient<Channel>,
    pub relay: PlatformServiceClient<Channel>,
    pub auditor: KeyVaultServiceClient<Channel>,
    pub sealer: Sealer,
    pub numbers: [String; 2],
    pub consumers: [String; 2],
}

impl Gateway {
    pub async fn of(suite: &Suite) -> anyhow::Result<Self> {
        let mut vault =
            KeyVaultServiceClient::new(suite.as_role(Role::Gateway, "key-vault").await?);
        let phone = |index: usize| suite.facts().consumers[index].phone_number.clone();
        Ok(Self {
            sealer: Sealer::new(suite, &mut vault, 0).await?,
            vault,
            relay: PlatformServiceClient::new(suite.as_role(Role::Gateway, "relay").await?),
            auditor: KeyVaultServiceClient::new(suite.as_role(Role::Auditor, "key-vault").await?),
            numbers: [suite.number(0).to_owned(), suite.number(1).to_owned()],
            consumers: [phone(suite.free_consumer()?), phone(suite.free_consumer()?)],
        })
    }

    pub async fn admit(&mut self, item: AdmitItem) -> anyhow::Result<Result<Admitted, Refusal>> {
        Ok(match admit(&mut self.vault, item).await? {
            admit_outcome::Outcome::Admitted(admitted) => Ok(admitted),
            admit_outcome::Outcome::Refused(refusal) => Err(refusal.try_into()?),
        })
    }

    /// A record of a message to the first consumer.
    pub async fn record(&mut self) -> anyhow::Result<Record> {
        let item = self.sealer.text(&self.consumers[0], "to the first")?;
        let admitted = self
            .admit(item)
            .await?
            .map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
        admitted.record.context("a record")
    }

    pub async fn encrypt(
        &mut self,
        record: Record,
        bundle: Option<SignedBundle>,
    ) -> anyhow::Result<Result<usize, Refusal>> {
        let item = EncryptItem {
            record: Some(record),
            bundle,
            attempt: 0,
            only_device_id: 0,
        };
        let request = EncryptRequest {
            batch_id: 1,
            items: vec![item],
        };
        let mut answers = self
            .vault
            .encrypt(tokio_stream::iter([request]))
            .await?
            .into_inner();
        let answer = answers.message().await?.context("an answer")?;
        Ok(
            match answer
                .outcomes
                .into_iter()
                .next()
                .and_then(|item| item.outcome)
                .context("an outcome")?
            {
                encrypt_outcome::Outcome::Encrypted(encrypted) => Ok(encrypted.ciphertexts.len()),
                encrypt_outcome::Outcome::SessionRequired(_) => Ok(0),
                encrypt_outcome::Outcome::Refused(refusal) => Err(refusal.try_into()?),
            },
        )
    }

    pub async fn bundle(&mut self, number: usize, consumer: usize) -> anyhow::Result<SignedBundle> {
        let request = FetchBundleRequest {
            phone_number_id: self.numbers[number].clone(),
            peer: self.consumers[consumer].clone(),
            ..FetchBundleRequest::default()
        };
        self.relay
            .fetch_bundle(request)
            .await?
            .into_inner()
            .bundle
            .context("a bundle")
    }

    pub async fn deliver(&mut self, record: Record) -> anyhow::Result<Option<Refusal>> {
        let item = DeliverItem {
            record: Some(record),
            header_only: false,
            with_wrap: true,
        };
        let request = DeliverRequest {
            batch_id: 1,
            items: vec![item],
        };
        let mut answers = self
            .vault
            .deliver(tokio_stream::iter([request]))
            .await?
            .into_inner();
        let answer = answers.message().await?.context("an answer")?;
        match answer
            .outcomes
            .into_iter()
            .next()
            .and_then(|item| item.outcome)
            .context("an outcome")?
        {
            deliver_outcome::Outcome::Delivered(_) => Ok(None),
            deliver_outcome::Outcome::Refused(refusal) => Ok(Some(refusal.try_into()?)),
        }
    }

    pub async fn check(&mut self, record: Record) -> anyhow::Result<Refusal> {
        let findings = self
            .auditor
            .check(CheckRequest {
                records: vec![record],
            })
            .await?
            .into_inner()
            .findings;
        Ok(findings.first().copied().context("a finding")?.try_into()?)
    }
}

pub async fn decrypt(
    vault: &mut KeyVaultServiceClient<Channel>,
    item: DecryptItem,
) -> anyhow::Result<decrypt_outcome::Outcome> {
    let request = DecryptRequest {
        batch_id: 1,
        items: vec![item],
    };
    let mut answers = vault
        .decrypt(tokio_stream::iter([request]))
        .await?
        .into_inner();
    let answer = answers.message().await?.context("an answer")?;
    answer
        .outcomes
        .into_iter()
        .next()
        .and_then(|item| item.outcome)
        .context("an outcome")
}
