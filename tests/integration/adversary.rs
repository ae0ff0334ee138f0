//! The gateway as the adversary: it has its own certificate and everything that passes through it, and is refused.

mod bundles;
mod fake_gateway;
mod gateway;
mod messages;

use anyhow::ensure;
use sealpost_tests::Suite;

use fake_gateway::FakeGateway;

#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_vault_key_is_refused_by_the_sdk_and_nothing_is_sent() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    for swap in fake_gateway::Swap::ALL {
        let gateway = FakeGateway::start(suite, swap).await?;
        let refused = gateway.try_to_send(suite).await;
        ensure!(refused.is_err(), "{swap:?}: the SDK trusted it");
        ensure!(gateway.messages_seen() == 0, "{swap:?}: a message left");
    }
    // The same gateway with the vault's own key is trusted, so that what was refused above is the key.
    let honest = FakeGateway::start(suite, fake_gateway::Swap::Nothing).await?;
    let _ = honest.try_to_send(suite).await;
    ensure!(
        honest.messages_seen() > 0,
        "the control: nothing came to the honest one"
    );
    Ok(())
}
