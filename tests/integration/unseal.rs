//! A suite whose key vault is sealed: what it says meanwhile, what waits, and that nothing is lost when persons unseal it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use sealpost_proto::vault::v1::GetNumberRequest;
use sealpost_proto::vault::v1::key_vault_service_client::KeyVaultServiceClient;
use sealpost_runtime::Role;
use sealpost_runtime::status::reason_of;
use sealpost_tests::consumer::Consumer;
use sealpost_tests::program::Program;
use sealpost_tests::traffic::Traffic;
use sealpost_tests::{Options, Suite};
use serde_json::Value;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::LATER;

const PASSPHRASE: &str = "nobody has ever said these words";

struct Sealable {
    suite: Suite,
    program: Program,
    consumer: Consumer,
    sent: usize,
}

impl Sealable {
    async fn boot() -> anyhow::Result<Self> {
        let suite = Suite::up(Options {
            consumers: 1,
            ..Options::default()
        })
        .await?;
        Ok(Self {
            program: Program::start(&suite, "unseal")?,
            consumer: Consumer::online(&suite, 0)?,
            suite,
            sent: 0,
        })
    }

    async fn vault(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut all = vec!["--json", "admin", "vault"];
        all.extend(arguments);
        Ok(serde_json::from_str(&self.suite.sealpost(&all).await?)?)
    }

    /// A file that its owner alone reads.
    fn secret(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.suite.dir().join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(path)
    }

    async fn unseal(&self, text: &str) -> anyhow::Result<Value> {
        let file = self.secret("secret", text)?;
        let file = file.to_str().context("a path")?;
        self.vault(&["unseal", "--secret-file", file]).await
    }

    /// A text each way, on the sessions that were there before.
    async fn converse(&mut self) -> anyhow::Result<()> {
        self.sent += 1;
        let (number, phone) = self.ends();
        let out = format!("out {}", self.sent);
        self.program
            .text_until_accepted(&number, &phone, &out, &out, LATER)
            .await?;
        self.consumer.wait_for(self.sent, LATER).await?;
        let back = format!("in {}", self.sent);
        self.consumer.text(&self.suite, 0, &back).await?;
        self.heard(&back).await
    }

    async fn heard(&self, text: &str) -> anyhow::Result<()> {
        let (number, phone) = self.ends();
        let begun = std::time::Instant::now();
        while !self
            .program
            .texts_from(&number, &phone)
            .iter()
            .any(|heard| heard == text)
        {
            ensure!(begun.elapsed() < LATER, "{text:?} was not heard");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    fn ends(&self) -> (String, String) {
        let facts = self.suite.facts();
        let phone = facts.consumers[0].phone_number.clone();
        (self.suite.number(0).to_owned(), phone)
    }

    /// Sealed, as everybody is told who asks.
    async fn is_sealed(&self) -> anyhow::Result<()> {
        let channel = self.suite.as_role(Role::Operator, "key-vault").await?;
        for (service, expected) in [
            ("", ServingStatus::NotServing),
            (
                "sealpost.vault.v1.KeyVaultService",
                ServingStatus::NotServing,
            ),
            ("sealpost.vault.v1.SealService", ServingStatus::Serving),
        ] {
            let request = HealthCheckRequest {
                service: service.to_owned(),
            };
            let health = HealthClient::new(channel.clone()).check(request).await?;
            ensure!(
                health.get_ref().status() == expected,
                "{service:?}: {health:?}"
            );
        }
        let request = GetNumberRequest {
            phone_number_id: self.suite.number(0).to_owned(),
        };
        let refused = KeyVaultServiceClient::new(channel)
            .get_number(request)
            .await;
        let refused = refused.err().context("a sealed vault answered")?;
        ensure!(
            refused.code() == Code::FailedPrecondition
                && reason_of(&refused).as_deref() == Some("SEALED"),
            "{refused:?}"
        );
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suite_waits_while_its_vault_is_sealed_and_loses_nothing() -> anyhow::Result<()> {
    let mut sealable = Sealable::boot().await?;
    sealable.converse().await?;
    let file = sealable.secret("passphrase", PASSPHRASE)?;
    let file = file.to_str().context("a path")?;
    let changed = sealable
        .vault(&[
            "change-provider",
            "--provider",
            "passphrase",
            "--secret-file",
            file,
        ])
        .await?;
    ensure!(changed["state"] == "unsealed" && changed["provider"] == "passphrase");
    sealable.converse().await?;

    let sealed = sealable.vault(&["seal"]).await?;
    ensure!(sealed["state"] == "sealed", "{sealed}");
    sealable.is_sealed().await?;
    let (number, phone) = sealable.ends();
    let refused = sealable
        .program
        .text(&number, &phone, "too early", "too early")
        .await;
    ensure!(refused.is_err_and(|error| error.is_transient()));
    // What a consumer writes meanwhile waits at the relay.
    sealable
        .consumer
        .text(&sealable.suite, 0, "meanwhile")
        .await?;

    let wrong = sealable.unseal("somebody has said these words").await;
    let wrong = wrong.err().context("a wrong passphrase unsealed")?;
    ensure!(format!("{wrong:#}").contains("UNSEAL_REFUSED"), "{wrong:#}");
    sealable.is_sealed().await?;
    let unsealed = sealable.unseal(PASSPHRASE).await?;
    ensure!(unsealed["state"] == "unsealed", "{unsealed}");
    sealable.heard("meanwhile").await?;
    sealable.converse().await?;

    // A start without persons stays sealed, whether the last process ended in order or not.
    sealable.suite.kill9("key-vault").await?;
    sealable.suite.start("key-vault").await?;
    sealable.is_sealed().await?;
    sealable.unseal(PASSPHRASE).await?;
    sealable.converse().await?;

    let to_shares = [
        "change-provider",
        "--provider",
        "shamir",
        "--shares",
        "3",
        "--threshold",
        "2",
    ];
    let unproven = sealable.vault(&to_shares).await;
    ensure!(unproven.is_err(), "an operator's certificate was enough");
    let shared = sealable
        .vault(&[&to_shares[..], &["--present-secret-file", file]].concat())
        .await?;
    ensure!(shared["provider"] == "passphrase" && shared["pending"] == true);
    let shares: Vec<_> = shared["shares"]
        .as_array()
        .context("shares")?
        .iter()
        .filter_map(Value::as_str)
        .collect();
    ensure!(shares.len() == 3);
    // They count once they came back.
    sealable.unseal(&shares[..2].join("\n")).await?;
    let counts = sealable.vault(&["status"]).await?;
    ensure!(counts["provider"] == "shamir" && counts["state"] == "unsealed");
    sealable.suite.restart("key-vault").await?;
    sealable.is_sealed().await?;
    let first = sealable.unseal(shares[2]).await?;
    ensure!(first["state"] == "sealed" && first["given"] == 1, "{first}");
    let second = sealable.unseal(shares[0]).await?;
    ensure!(second["state"] == "unsealed", "{second}");
    sealable.converse().await?;
    let log = sealable.suite.log("key-vault")?;
    ensure!(
        shares.iter().all(|share| !log.contains(share)) && !log.contains(PASSPHRASE),
        "a secret is in the log"
    );
    sealable.suite.check_no_panic()
}

/// Batches under way when the keys go are not answered as if what they were about were lost or damaged.
#[tokio::test(flavor = "multi_thread")]
async fn sealing_a_vault_under_load_loses_nothing() -> anyhow::Result<()> {
    const TIMES: usize = 5;
    let suite = Suite::up(Options {
        consumers: 2,
        ..Options::default()
    })
    .await?;
    let consumers: Vec<_> = (0..2)
        .map(|index| Consumer::online(&suite, index))
        .collect::<Result<_, _>>()?;
    let before = suite.run_file()?;
    let traffic = Traffic::new(&suite, &consumers, "seal")?;
    let over = AtomicBool::new(false);
    let sealing = async {
        for _ in 0..TIMES {
            traffic.until_accepted(traffic.count() + 10).await;
            suite.sealpost(&["admin", "vault", "seal"]).await?;
            // The key file unseals it, but not by itself.
            suite.sealpost(&["admin", "vault", "unseal"]).await?;
        }
        over.store(true, Ordering::SeqCst);
        anyhow::Ok(())
    };
    let (accepted, ()) = tokio::try_join!(
        traffic.send_while(|_| !over.load(Ordering::SeqCst), Duration::ZERO),
        sealing
    )?;
    traffic.check(&accepted, LATER).await?;
    suite.check_unharmed(&before)
}
