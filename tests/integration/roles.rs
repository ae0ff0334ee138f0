//! Who may call what, over real TLS, for every RPC of every service.

use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use sealpost_runtime::Role;
use sealpost_runtime::status::reason_of;
use sealpost_tests::channel::{channel, refusal};
use sealpost_tests::contracts::{Rpc, rpcs};
use sealpost_tests::identity::Certificate;
use sealpost_tests::raw::{Outcome, call};
use sealpost_tests::{Options, Suite};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};
use tonic::Code;
use tonic::transport::Channel;

/// Services with an mTLS face, and what they serve there.
const FACES: [(&str, &str); 5] = [
    ("key-vault", "sealpost.vault.v1.KeyVaultService"),
    ("store", "sealpost.store.v1.StoreService"),
    ("directory", "sealpost.directory.v1.DirectoryService"),
    ("relay", "sealpost.relay.v1.PlatformService"),
    ("retention", "sealpost.retention.v1.RetentionService"),
];

/// A suite that only refuses: callers here take the gateway's place now and then.
async fn suite() -> anyhow::Result<&'static Suite> {
    static SUITE: OnceCell<Suite> = OnceCell::const_new();
    SUITE
        .get_or_try_init(|| {
            Suite::up(Options {
                consumers: 0,
                ..Options::default()
            })
        })
        .await
}

async fn empty_call(channel: &Channel, rpc: &Rpc) -> Outcome {
    call(channel, &rpc.path, None, vec![Bytes::new()]).await
}

/// That the server ended the handshake, with a TLS alert that says `alert`, and that no RPC passes.
async fn is_shut_out(
    suite: &Suite,
    shown: Option<&Certificate>,
    alert: &str,
) -> anyhow::Result<()> {
    for (name, service) in FACES {
        let address = suite.facts().grpc(name)?;
        let said = refusal(address, shown)
            .await?
            .with_context(|| format!("{name} let it in"))?;
        ensure!(
            said.contains(alert),
            "{name} refused with {said:?}, not {alert}"
        );
        for rpc in rpcs(service)? {
            // A channel of its own for each call: none rides on what another one reached.
            let outcome = empty_call(&channel(address, shown)?, &rpc).await;
            let status = outcome
                .refused()
                .with_context(|| format!("{}: {outcome:?}", rpc.path))?;
            // A broken connection has a cause in the transport; an answer of the server has none.
            let is_broken = std::error::Error::source(status).is_some();
            ensure!(
                is_broken && reason_of(status).is_none(),
                "{} answered a stranger: {status}",
                rpc.path
            );
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_client_certificate_no_rpc_is_reached() -> anyhow::Result<()> {
    is_shut_out(suite().await?, None, "CertificateRequired").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_reaches_no_rpc() -> anyhow::Result<()> {
    let suite = suite().await?;
    let stranger = suite
        .issue_elsewhere("elsewhere.test", Role::Gateway, "stranger")
        .await?;
    is_shut_out(suite, Some(&stranger), "UnknownCA").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_an_authority_that_calls_itself_ours_reaches_no_rpc() -> anyhow::Result<()>
{
    let suite = suite().await?;
    let ours = std::fs::read_to_string(suite.dir().join("pki/trust-domain"))?;
    let impostor = suite
        .issue_elsewhere(ours.trim(), Role::Gateway, "impostor")
        .await?;
    // The name leads to our authority's key, and the signature does not verify under it.
    is_shut_out(suite, Some(&impostor), "DecryptError").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_reaches_no_rpc() -> anyhow::Result<()> {
    let suite = suite().await?;
    let expired = suite.issue(Role::Gateway, "expired", 0).await?;
    sleep(Duration::from_secs(2)).await;
    is_shut_out(suite, Some(&expired), "CertificateExpired").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_a_public_face_reaches_no_rpc() -> anyhow::Result<()> {
    // Of the right authority, but it names an address and no role.
    let suite = suite().await?;
    let issued = suite.dir().join("pki/issued/gateway");
    let public = Certificate {
        certificate: issued.join("public.pem"),
        private_key: issued.join("public.key"),
        id: String::new(),
    };
    for (name, _) in FACES {
        ensure!(
            refusal(suite.facts().grpc(name)?, Some(&public))
                .await?
                .is_some(),
            "{name} let it in"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_reaches_the_rpcs_that_the_contract_gives_it_and_no_other() -> anyhow::Result<()>
{
    let suite = suite().await?;
    let (mut allowed, mut refused) = (0, 0);
    for role in Role::ALL {
        let certificate = suite.issue(*role, "walker", 1).await?;
        for (name, service) in FACES {
            let channel = channel(suite.facts().grpc(name)?, Some(&certificate))?;
            for rpc in rpcs(service)? {
                let outcome = empty_call(&channel, &rpc).await;
                let status = outcome.refused();
                let is_refused =
                    status.is_some_and(|status| status.code() == Code::PermissionDenied);
                if rpc.roles.contains(role) {
                    ensure!(!is_refused, "{role} may call {}: {outcome:?}", rpc.path);
                    let broken = status.is_some_and(|status| status.code() == Code::Unavailable);
                    ensure!(!broken, "{role} reaches {}: {outcome:?}", rpc.path);
                    allowed += 1;
                } else {
                    ensure!(is_refused, "{role} may not call {}: {outcome:?}", rpc.path);
                    let reason = status.and_then(reason_of);
                    ensure!(
                        reason.as_deref() == Some("ROLE_NOT_ALLOWED"),
                        "{}: {reason:?}",
                        rpc.path
                    );
                    refused += 1;
                }
            }
        }
    }
    ensure!(
        allowed > 50 && refused > 300,
        "only {allowed} allowed and {refused} refused calls were made"
    );
    suite.check_no_panic()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateways_inner_face_serves_no_business_to_any_role() -> anyhow::Result<()> {
    let suite = suite().await?;
    for role in Role::ALL {
        let channel = suite.as_role(*role, "gateway").await?;
        for rpc in rpcs("sealpost.gateway.v1.GatewayService")? {
            let outcome = empty_call(&channel, &rpc).await;
            let code = outcome.refused().map(tonic::Status::code);
            ensure!(
                matches!(code, Some(Code::PermissionDenied | Code::Unimplemented)),
                "{role} {}: {outcome:?}",
                rpc.path
            );
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_stops_working_within_five_seconds_also_on_a_standing_connection()
-> anyhow::Result<()> {
    let suite = suite().await?;
    let certificate = suite.issue(Role::Auditor, "soon-revoked", 1).await?;
    let path = "/grpc.health.v1.Health/Check";
    let mut standing = Vec::new();
    for (name, _) in FACES {
        let channel = channel(suite.facts().grpc(name)?, Some(&certificate))?;
        let before = call(&channel, path, None, vec![Bytes::new()]).await;
        ensure!(
            matches!(before, Outcome::Answered(_)),
            "{name} before: {before:?}"
        );
        standing.push((name, channel));
    }
    suite.revoke(&certificate).await?;
    let revoked = Instant::now();
    for (name, channel) in &standing {
        loop {
            let outcome = call(channel, path, None, vec![Bytes::new()]).await;
            if outcome.refused().is_some() {
                break;
            }
            ensure!(
                revoked.elapsed() < Duration::from_secs(5),
                "{name} still answers: {outcome:?}"
            );
            sleep(Duration::from_millis(100)).await;
        }
        let said = refusal(suite.facts().grpc(name)?, Some(&certificate)).await?;
        ensure!(
            said.as_deref()
                .is_some_and(|said| said.contains("CertificateRevoked")),
            "{name}: {said:?}"
        );
    }
    // The others' certificates still stand.
    let channel = suite.as_role(Role::Auditor, "key-vault").await?;
    let after = call(&channel, path, None, vec![Bytes::new()]).await;
    ensure!(matches!(after, Outcome::Answered(_)), "{after:?}");
    Ok(())
}
