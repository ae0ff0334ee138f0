//! A commit of which nobody knows whether it took hold: the vault gives out nothing of that batch, and what it gives out when it is
//! asked again is made with message keys that no ciphertext before had. A key used twice would tell whoever holds both ciphertexts.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use libsignal_protocol::{PreKeySignalMessage, SignalMessage};
use sealpost_proto::record::v1::Record;
use sealpost_proto::relay::v1::platform_service_client::PlatformServiceClient;
use sealpost_proto::relay::v1::{
    CollectRequest, FetchBundleRequest, InboundEnvelope, inbound::Item,
};
use sealpost_proto::signal::v1::{CiphertextType, DeviceCiphertext, SignedBundle};
use sealpost_proto::vault::v1::key_vault_service_client::KeyVaultServiceClient;
use sealpost_proto::vault::v1::{
    AdmitItem, AdmitRequest, Admitted, DecryptItem, DecryptRequest, EncryptItem, EncryptRequest,
    Refusal, admit_outcome, decrypt_outcome, encrypt_outcome,
};
use sealpost_runtime::Role;
use sealpost_tests::business::Sealer;
use sealpost_tests::consumer::Consumer;
use sealpost_tests::database::Kind;
use sealpost_tests::failpoints::Order;
use sealpost_tests::{Options, Suite};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::SOON;
use crate::at_rest::{copy, restore};

/// Not committed, and committed: the vault hears the same.
const UNKNOWN: [&str; 2] = ["worked", "committed"];

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_commit_lets_no_ciphertext_out_and_no_message_key_is_used_twice()
-> anyhow::Result<()> {
    let suite = boot(None).await?;
    let (mut vault, sealer, record) = session(&suite).await?;
    let mut made = Vec::new();
    // While there is no session, and when there may be one: the bundle comes along again.
    for outcome in UNKNOWN {
        let point = format!("encrypt.{outcome}");
        let bundle = bundle(&suite, false).await?;
        order(&suite, &point)?;
        let answer = vault.encrypt(&record, bundle.clone()).await?;
        ensure!(answer.is_none(), "{point}: a ciphertext is out");
        reached(&suite, &point)?;
        made.extend(vault.encrypt(&record, bundle).await?.context("again")?);
    }
    for outcome in UNKNOWN {
        let point = format!("admit.{outcome}");
        let items = sealer.texts(&suite, 3)?;
        order(&suite, &point)?;
        let answer = vault.admit(items.clone()).await?;
        ensure!(answer.is_none(), "{point}: a ciphertext is out");
        reached(&suite, &point)?;
        let again = vault.admit(items).await?.context("asked again")?;
        ensure!(again.len() == 3, "{point}: {} ciphertexts", again.len());
        // What may have been committed is skipped, and nothing else.
        let skipped = if outcome == "committed" { 3 } else { 0 };
        let (chain, place) = message_key(made.last().context("a ciphertext")?)?;
        let next = message_key(&again[0])?;
        ensure!(
            next == (chain, place + skipped + 1),
            "{point}: {} after {place}",
            next.1
        );
        made.extend(again);
    }
    let keys = message_keys(&made)?;
    ensure!(
        keys.len() == made.len(),
        "{} keys made {} ciphertexts",
        keys.len(),
        made.len()
    );
    suite.check_no_panic()
}

/// Control: what the test above looks for is seen where a commit really was forgotten after its ciphertext was out.
#[tokio::test(flavor = "multi_thread")]
async fn a_vault_put_back_after_its_answer_uses_message_keys_twice() -> anyhow::Result<()> {
    let suite = boot(Some(Kind::Sqlite)).await?;
    let (mut vault, sealer, record) = session(&suite).await?;
    vault
        .encrypt(&record, bundle(&suite, false).await?)
        .await?
        .context("a session")?;
    let backup = tempfile::tempdir()?;
    let kept = backup.path().join("key-vault");
    let keyring = |path: &Path| path.ends_with("key-vault/keyring");
    suite.stop("key-vault").await?;
    copy(&suite.dir().join("data/key-vault"), &kept, &keyring)?;
    suite.start("key-vault").await?;
    let mut vault = Vault::of(&suite).await?;
    let mut made = vault
        .admit(sealer.texts(&suite, 3)?)
        .await?
        .context("out")?;
    suite.stop("key-vault").await?;
    restore(&suite, "data/key-vault", &kept)?;
    suite.start("key-vault").await?;
    let mut vault = Vault::of(&suite).await?;
    made.extend(
        vault
            .admit(sealer.texts(&suite, 3)?)
            .await?
            .context("out again")?,
    );
    ensure!(
        made.len() == 6 && message_keys(&made)?.len() == 3,
        "{} keys made {} ciphertexts",
        message_keys(&made)?.len(),
        made.len()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_commit_of_a_decryption_gives_no_content_and_loses_none() -> anyhow::Result<()> {
    let suite = boot(None).await?;
    let mut vault = Vault::of(&suite).await?;
    let consumer = Consumer::online(&suite, 0)?;
    for (turn, outcome) in UNKNOWN.into_iter().enumerate() {
        consumer.text(&suite, 0, outcome).await?;
        let envelope = envelope(&suite, turn).await?;
        let item = DecryptItem {
            phone_number_id: suite.number(0).to_owned(),
            peer: envelope.peer,
            device_id: envelope.device_id,
            r#type: envelope.r#type,
            ciphertext: envelope.ciphertext,
            bundle: Some(bundle(&suite, true).await?),
        };
        let point = format!("decrypt.{outcome}");
        order(&suite, &point)?;
        let answer = vault.decrypt(&item).await?;
        ensure!(answer.is_none(), "{point}: content is out");
        reached(&suite, &point)?;
        let record = vault.decrypt(&item).await?.context("asked again")?;
        let repeated = vault.decrypt(&item).await?.context("and again")?;
        ensure!(record == repeated, "{point}: another record");
    }
    suite.check_no_panic()
}

/// Without its gateway: the test takes that place.
async fn boot(database: Option<Kind>) -> anyhow::Result<Suite> {
    let suite = Suite::up(Options {
        failpoints: true,
        database,
        ..Options::default()
    })
    .await?;
    suite.stop("gateway").await?;
    Ok(suite)
}

/// A vault, a business that seals for it, and a first record that waits for a session.
async fn session(suite: &Suite) -> anyhow::Result<(Vault, Sealer, Record)> {
    let mut vault = Vault::of(suite).await?;
    let sealer = Sealer::new(suite, &mut vault.0, 0).await?;
    let first = sealer.texts(suite, 1)?;
    let mut admitted = vault.admitted(first).await?.context("admitted")?;
    let record = admitted.remove(0).record.context("a record")?;
    Ok((vault, sealer, record))
}

trait Texts {
    fn texts(&self, suite: &Suite, count: usize) -> anyhow::Result<Vec<AdmitItem>>;
}

impl Texts for Sealer {
    fn texts(&self, suite: &Suite, count: usize) -> anyhow::Result<Vec<AdmitItem>> {
        let to = &suite.facts().consumers[0].phone_number;
        (0..count).map(|_| self.text(to, "words")).collect()
    }
}

fn order(suite: &Suite, point: &str) -> anyhow::Result<()> {
    suite.orders().give("key-vault", point, &Order::Fail(1))
}

fn reached(suite: &Suite, point: &str) -> anyhow::Result<()> {
    let reached = suite.orders().is_reached("key-vault", point);
    ensure!(reached, "{point} was not reached");
    Ok(())
}

/// Which message key made a ciphertext: the sending chain, and the place in it.
type MessageKey = (Vec<u8>, u32);

fn message_key(ciphertext: &DeviceCiphertext) -> anyhow::Result<MessageKey> {
    let bytes = &ciphertext.ciphertext[..];
    let message = match ciphertext.r#type() {
        CiphertextType::PrekeyMessage => PreKeySignalMessage::try_from(bytes)?.message().clone(),
        _ => SignalMessage::try_from(bytes)?,
    };
    let chain = message.sender_ratchet_key().serialize().to_vec();
    Ok((chain, message.counter()))
}

fn message_keys(made: &[DeviceCiphertext]) -> anyhow::Result<BTreeSet<MessageKey>> {
    made.iter().map(message_key).collect()
}

/// A gateway's certificate at the vault, and nothing else of a gateway. `None`: refused as contended, whole.
struct Vault(KeyVaultServiceClient<Channel>);

impl Vault {
    async fn of(suite: &Suite) -> anyhow::Result<Self> {
        let channel = suite.as_role(Role::Gateway, "key-vault").await?;
        Ok(Self(KeyVaultServiceClient::new(channel)))
    }

    async fn admit(
        &mut self,
        items: Vec<AdmitItem>,
    ) -> anyhow::Result<Option<Vec<DeviceCiphertext>>> {
        let admitted = self.admitted(items).await?;
        Ok(admitted.map(|all| all.into_iter().flat_map(|one| one.ciphertexts).collect()))
    }

    async fn admitted(&mut self, items: Vec<AdmitItem>) -> anyhow::Result<Option<Vec<Admitted>>> {
        let request = AdmitRequest { batch_id: 1, items };
        let answers = self.0.admit(tokio_stream::iter([request])).await?;
        let answer = answers.into_inner().message().await?.context("an answer")?;
        let (mut all, mut refused) = (Vec::new(), 0);
        for outcome in answer.outcomes {
            match outcome.outcome.context("an outcome")? {
                admit_outcome::Outcome::Admitted(admitted) => all.push(admitted),
                admit_outcome::Outcome::Refused(refusal) => {
                    contended::<()>(refusal)?;
                    refused += 1;
                }
            }
        }
        ensure!(refused == 0 || all.is_empty(), "a part of a batch is out");
        Ok((refused == 0).then_some(all))
    }

    async fn encrypt(
        &mut self,
        record: &Record,
        bundle: SignedBundle,
    ) -> anyhow::Result<Option<Vec<DeviceCiphertext>>> {
        let item = EncryptItem {
            record: Some(record.clone()),
            bundle: Some(bundle),
            attempt: 0,
            only_device_id: 0,
        };
        let request = EncryptRequest {
            batch_id: 1,
            items: vec![item],
        };
        let answers = self.0.encrypt(tokio_stream::iter([request])).await?;
        let mut answer = answers.into_inner().message().await?.context("an answer")?;
        match answer.outcomes.remove(0).outcome.context("an outcome")? {
            encrypt_outcome::Outcome::Encrypted(encrypted) => Ok(Some(encrypted.ciphertexts)),
            encrypt_outcome::Outcome::Refused(refusal) => contended(refusal),
            other => bail!("{other:?}"),
        }
    }

    async fn decrypt(&mut self, item: &DecryptItem) -> anyhow::Result<Option<Record>> {
        let request = DecryptRequest {
            batch_id: 1,
            items: vec![item.clone()],
        };
        let answers = self.0.decrypt(tokio_stream::iter([request])).await?;
        let mut answer = answers.into_inner().message().await?.context("an answer")?;
        match answer.outcomes.remove(0).outcome.context("an outcome")? {
            decrypt_outcome::Outcome::Decrypted(decrypted) => Ok(decrypted.record),
            decrypt_outcome::Outcome::Refused(refusal) => contended(refusal),
        }
    }
}

/// Nothing, for a refusal that says so; any other is an error.
fn contended<T>(refusal: i32) -> anyhow::Result<Option<T>> {
    let refusal = Refusal::try_from(refusal)?;
    ensure!(refusal == Refusal::Contention, "{}", refusal.as_str_name());
    Ok(None)
}

async fn relay(suite: &Suite) -> anyhow::Result<PlatformServiceClient<Channel>> {
    let channel = suite.as_role(Role::Gateway, "relay").await?;
    Ok(PlatformServiceClient::new(channel))
}

async fn bundle(suite: &Suite, without_prekeys: bool) -> anyhow::Result<SignedBundle> {
    let request = FetchBundleRequest {
        phone_number_id: suite.number(0).to_owned(),
        peer: suite.facts().consumers[0].phone_number.clone(),
        known_devices: Vec::new(),
        without_prekeys,
    };
    let answer = relay(suite).await?.fetch_bundle(request).await?;
    answer.into_inner().bundle.context("a bundle")
}

/// The consumer's message at that place in the relay's queue, which stays there.
async fn envelope(suite: &Suite, place: usize) -> anyhow::Result<InboundEnvelope> {
    let start = Instant::now();
    while start.elapsed() < SOON {
        // Each time anew: a conversation in hand gets nothing more until that is acknowledged.
        let mut waiting = waiting(suite).await?;
        if waiting.len() > place {
            return Ok(waiting.swap_remove(place));
        }
    }
    bail!("no message at place {place}")
}

/// What a new stream is given first.
async fn waiting(suite: &Suite) -> anyhow::Result<Vec<InboundEnvelope>> {
    let (say, said) = mpsc::channel(1);
    let open = CollectRequest {
        collector: "test".to_owned(),
        ..CollectRequest::default()
    };
    say.send(open).await?;
    let answers = relay(suite)
        .await?
        .collect(ReceiverStream::new(said))
        .await?;
    let first = timeout(Duration::from_secs(1), answers.into_inner().message()).await;
    let items = match first {
        Ok(answer) => answer?.context("the relay goes on")?.items,
        Err(_) => Vec::new(),
    };
    let envelope = |item| match item {
        Some(Item::Envelope(envelope)) => Some(envelope),
        _ => None,
    };
    Ok(items
        .into_iter()
        .filter_map(|one| envelope(one.item))
        .collect())
}
