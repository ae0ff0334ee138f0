//! Swapped, forged and outdated prekey bundles.

use anyhow::ensure;
use prost::Message;
use sealpost_envelope::{OsEntropy, SigningKey};
use sealpost_proto::signal::v1::{BundleStatement, SignedBundle};
use sealpost_proto::vault::v1::Refusal;
use sealpost_proto::vault::v1::key_vault_service_client::KeyVaultServiceClient;
use sealpost_runtime::Role;
use sealpost_tests::device::device_bundle;
use sealpost_tests::{Options, Suite};

use super::gateway::Gateway;

#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_bundle_or_an_added_device_is_refused() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let mut gateway = Gateway::of(suite).await?;
    let record = gateway.record().await?;
    let good = gateway.bundle(0, 0).await?;
    let statement = BundleStatement::decode(good.statement.as_ref())?;

    let edited = |edit: &dyn Fn(&mut BundleStatement)| {
        let mut statement = statement.clone();
        edit(&mut statement);
        SignedBundle {
            statement: statement.encode_to_vec().into(),
            signature: good.signature.clone(),
        }
    };
    let own_key = SigningKey::generate(&mut OsEntropy)?;
    let signed_by_itself = SignedBundle {
        signature: own_key.sign(&good.statement).to_vec().into(),
        statement: good.statement.clone(),
    };
    let attempts = [
        (
            "a device of its own",
            edited(&|statement| statement.devices.push(device_bundle(2))),
        ),
        (
            "a device replaced",
            edited(&|statement| statement.devices = vec![device_bundle(1)]),
        ),
        (
            "another identity key",
            edited(&|statement| {
                statement.identity_key = sealpost_tests::device::device_keys().identity_key;
            }),
        ),
        ("no devices", edited(&|statement| statement.devices.clear())),
        (
            "a longer life",
            edited(&|statement| statement.expires_at_ms += 1),
        ),
        ("its own signature", signed_by_itself),
        (
            "no signature",
            SignedBundle {
                signature: bytes::Bytes::new(),
                ..good.clone()
            },
        ),
        ("another consumer's bundle", gateway.bundle(0, 1).await?),
        ("a bundle for another number", gateway.bundle(1, 0).await?),
    ];
    for (what, bundle) in attempts {
        let outcome = gateway.encrypt(record.clone(), Some(bundle)).await?;
        ensure!(
            outcome == Err(Refusal::BundleInvalid),
            "{what}: {outcome:?}"
        );
    }
    // The relay's own answer passes: one device, one ciphertext.
    let outcome = gateway.encrypt(record, Some(good)).await?;
    ensure!(outcome == Ok(1), "the control: {outcome:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_bundle_is_refused_once_a_newer_one_was_seen() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let mut gateway = Gateway::of(suite).await?;
    let phone = "15550275001";
    gateway.consumers[0] = phone.to_owned();
    suite.register(phone).await?;
    let record = gateway.record().await?;
    let old = gateway.bundle(0, 0).await?;
    let outcome = gateway.encrypt(record, Some(old.clone())).await?;
    ensure!(outcome == Ok(1), "the first device: {outcome:?}");
    // Whoever had the lost device's keys would like the old bundle back.
    suite.register(phone).await?;
    let new = gateway.bundle(0, 0).await?;
    let record = gateway.record().await?;
    let outcome = gateway.encrypt(record, Some(new.clone())).await?;
    ensure!(outcome == Ok(1), "the second device: {outcome:?}");
    let record = gateway.record().await?;
    let outcome = gateway.encrypt(record.clone(), Some(old)).await?;
    ensure!(
        outcome == Err(Refusal::BundleInvalid),
        "the first device again: {outcome:?}"
    );
    let outcome = gateway.encrypt(record, Some(new)).await?;
    ensure!(outcome == Ok(1), "the control: {outcome:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_bundle_is_refused() -> anyhow::Result<()> {
    let suite = Suite::up(Options {
        numbers: 2,
        consumers: 2,
        clock_file: true,
        ..Options::default()
    })
    .await?;
    let mut gateway = Gateway::of(&suite).await?;
    let record = gateway.record().await?;
    let old = gateway.bundle(0, 0).await?;
    // A day later the statement has ended. The vault's clock asks an operator about such a jump first.
    let day = 24 * 3600 + 600;
    suite.set_clock(day).await?;
    confirm_clock(&suite, day).await?;
    let outcome = gateway.encrypt(record.clone(), Some(old)).await?;
    ensure!(outcome == Err(Refusal::BundleInvalid), "{outcome:?}");
    let fresh = gateway.bundle(0, 0).await?;
    let outcome = gateway.encrypt(record, Some(fresh)).await?;
    ensure!(outcome == Ok(1), "the control: {outcome:?}");
    Ok(())
}

async fn confirm_clock(suite: &Suite, ahead: i64) -> anyhow::Result<()> {
    use sealpost_proto::vault::v1::ConfirmClockRequest;
    let mut operator =
        KeyVaultServiceClient::new(suite.as_role(Role::Operator, "key-vault").await?);
    let now_ms = sealpost_tests::business::now().0 + u64::try_from(ahead)? * 1000;
    operator
        .confirm_clock(ConfirmClockRequest { now_ms })
        .await?;
    Ok(())
}
