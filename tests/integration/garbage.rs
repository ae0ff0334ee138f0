//! Garbage at every RPC and port: a clean refusal, and the service goes on.

use anyhow::{Context, ensure};
use bytes::Bytes;
use sealpost_runtime::Role;
use sealpost_tests::binaries::SERVICES;
use sealpost_tests::consumer::Consumer;
use sealpost_tests::contracts::{Rpc, rpcs};
use sealpost_tests::garbage::Garbage;
use sealpost_tests::raw::{Outcome, call};
use sealpost_tests::traffic::Traffic;
use sealpost_tests::{Options, Suite, progress};
use serde_json::json;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::LATER;

/// Absurd messages for each RPC.
const ABSURD: u64 = 12;

/// Messages over what any face reads (4 MiB).
const TOO_LARGE: usize = 5 * 1024 * 1024;

/// What a refusal of something that parses may say. INTERNAL is no refusal, it is a fault.
const CLEAN: &[Code] = &[
    Code::InvalidArgument,
    Code::NotFound,
    Code::AlreadyExists,
    Code::FailedPrecondition,
    Code::OutOfRange,
    Code::PermissionDenied,
    Code::Unauthenticated,
    Code::ResourceExhausted,
    Code::Aborted,
];

struct Target {
    rpc: Rpc,
    channel: Channel,
    token: Option<String>,
}

/// Every RPC of every service, each with a caller who may call it.
async fn targets(suite: &Suite) -> anyhow::Result<Vec<Target>> {
    let mut targets = Vec::new();
    for (name, service) in [
        ("key-vault", "sealpost.vault.v1.KeyVaultService"),
        ("store", "sealpost.store.v1.StoreService"),
        ("directory", "sealpost.directory.v1.DirectoryService"),
        ("relay", "sealpost.relay.v1.PlatformService"),
        ("retention", "sealpost.retention.v1.RetentionService"),
    ] {
        let mut channels: BTreeMap<Role, Channel> = BTreeMap::new();
        for rpc in rpcs(service)? {
            let role = *rpc.roles.first().context("a role")?;
            let channel = match channels.entry(role) {
                Entry::Occupied(made) => made.get().clone(),
                Entry::Vacant(missing) => missing.insert(suite.as_role(role, name).await?).clone(),
            };
            targets.push(Target {
                channel,
                rpc,
                token: None,
            });
        }
    }
    for rpc in rpcs("sealpost.gateway.v1.GatewayService")? {
        let token = Some(suite.facts().gateway.token.clone());
        targets.push(Target {
            channel: suite.gateway_public()?,
            rpc,
            token,
        });
    }
    let device = suite.register("15550271001").await?;
    for rpc in rpcs("sealpost.relay.v1.DeviceService")? {
        let token = Some(device.token.clone());
        targets.push(Target {
            channel: device.channel.clone(),
            rpc,
            token,
        });
    }
    Ok(targets)
}

impl Target {
    async fn call(&self, messages: Vec<Bytes>) -> Outcome {
        call(
            &self.channel,
            &self.rpc.path,
            self.token.as_deref(),
            messages,
        )
        .await
    }

    fn check(
        &self,
        what: &str,
        outcome: &Outcome,
        clean: impl Fn(&Status) -> bool,
    ) -> anyhow::Result<()> {
        match outcome.refused() {
            Some(status) if !clean(status) => {
                anyhow::bail!("{what} at {}: {status:?}", self.rpc.path)
            }
            _ => Ok(()),
        }
    }
}

fn is_clean(status: &Status) -> bool {
    CLEAN.contains(&status.code())
}

/// What the protobuf decoder says of bytes that do not parse.
fn is_undecodable(status: &Status) -> bool {
    is_clean(status) || status.code() == Code::Internal && status.message().contains("decode")
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_at_every_rpc_is_refused_cleanly_and_harms_nobody() -> anyhow::Result<()> {
    let suite = Suite::up(Options {
        numbers: 2,
        consumers: 2,
        ..Options::default()
    })
    .await?;
    let before = suite.run_file()?;
    // The second number is the garbage's; the first one has a conversation to go on with.
    let known = vec![
        suite.number(1).to_owned(),
        suite.facts().consumers[1].phone_number.clone(),
    ];
    let consumers = [Consumer::online(&suite, 0)?];
    let traffic = Traffic::new(&suite, &consumers, "before the garbage")?;
    traffic
        .check(&traffic.send(5, Duration::ZERO).await?, LATER)
        .await?;

    let targets = targets(&suite).await?;
    ensure!(targets.len() > 60, "only {} RPCs", targets.len());
    let mut calls = 0;
    for target in &targets {
        let input = &target.rpc.input;
        let mut garbage = Garbage::new(1, known.clone())?;
        for length in [1, 16, 300, 70_000] {
            let outcome = target.call(vec![garbage.noise(length)]).await;
            target.check("noise", &outcome, is_undecodable)?;
            calls += 1;
        }
        if let Some(message) = garbage.not_utf8(input) {
            let outcome = target.call(vec![message]).await;
            ensure!(
                outcome.refused().is_some(),
                "a string that is not UTF-8 at {}: {outcome:?}",
                target.rpc.path
            );
            target.check("a string that is not UTF-8", &outcome, is_undecodable)?;
        }
        let outcome = target.call(vec![vec![0; TOO_LARGE].into()]).await;
        ensure!(
            outcome.refused().is_some(),
            "a message too large at {}: {outcome:?}",
            target.rpc.path
        );
        target.check("a message too large", &outcome, is_undecodable)?;

        for seed in 0..ABSURD {
            let message = Garbage::new(seed, known.clone())?.absurd(input);
            let outcome = target.call(vec![message]).await;
            target.check(&format!("absurd message {seed}"), &outcome, is_clean)?;
            calls += 1;
        }
        let crowded = garbage.crowded(input);
        let outcome = target.call(vec![crowded]).await;
        target.check("a crowd", &outcome, is_clean)?;
        // Two in one stream: the second meets a service that has just refused.
        let pair = vec![garbage.absurd(input), garbage.absurd(input)];
        target.check("two absurd messages", &target.call(pair).await, is_clean)?;
        target.check("no message", &target.call(Vec::new()).await, |status| {
            // tonic's own word for a unary call without a message.
            is_clean(status)
                || status.code() == Code::Internal
                    && status.message().contains("Missing request message")
        })?;
        calls += 5;
    }
    progress(&format!(
        "{calls} calls with garbage over {} RPCs",
        targets.len()
    ));

    suite.check_unharmed(&before)?;
    let traffic = Traffic::new(&suite, &consumers, "after the garbage")?;
    traffic
        .check(&traffic.send(5, Duration::ZERO).await?, LATER)
        .await?;
    suite.check_unharmed(&before)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_rpc_that_does_not_exist_is_refused() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    for name in SERVICES.iter().filter(|name| **name != "connector") {
        let channel = suite.as_role(Role::Operator, name).await?;
        for path in ["/sealpost.vault.v1.KeyVaultService/Export", "/x.Y/Z", "/"] {
            let outcome = call(&channel, path, None, vec![Bytes::new()]).await;
            let code = outcome.refused().map(Status::code);
            ensure!(
                matches!(code, Some(Code::Unimplemented | Code::PermissionDenied)),
                "{name} {path}: {outcome:?}"
            );
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_protocol_at_all_harm_no_port() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let mut garbage = Garbage::new(99, Vec::new())?;
    let run = suite.run_file()?;
    let mut ports = Vec::new();
    for service in run.services.values() {
        ports.extend(service.grpc.clone());
        ports.extend(service.public.clone());
        ports.push(host_port(&service.metrics));
    }
    ports.push(host_port(&run.connector.url));
    let beginnings: [&[u8]; 4] = [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x40\x00",
    ];
    for port in &ports {
        for beginning in beginnings {
            let mut stream = TcpStream::connect(port).await?;
            let noise = garbage.noise(100_000);
            // The other side may hang up at any byte: that is its answer.
            let talk = async {
                let _ = stream.write_all(&[beginning, &noise].concat()).await;
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            };
            ensure!(
                timeout(Duration::from_secs(15), talk).await.is_ok(),
                "{port} neither answered nor hung up"
            );
        }
    }
    suite.check_unharmed(&run)
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_requests_that_make_no_sense_get_the_clouds_error_object() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let rest = sealpost_tests::rest::Rest::of(suite)?;
    let to = "15550288888";
    for message in [
        json!(null),
        json!([]),
        json!({}),
        json!({"messaging_product": "whatsapp"}),
        json!({"messaging_product": "carrier pigeon", "to": to, "type": "text", "text": {"body": "x"}}),
        json!({"messaging_product": "whatsapp", "to": "not a number", "type": "text", "text": {"body": "x"}}),
        json!({"messaging_product": "whatsapp", "to": to, "type": "text"}),
        json!({"messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": ""}}),
        json!({"messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": 7}}),
        json!({"messaging_product": "whatsapp", "to": to, "type": "location", "location": {"latitude": 91, "longitude": 0}}),
        json!({"messaging_product": "whatsapp", "to": to, "type": "reaction", "reaction": {"message_id": "nonsense", "emoji": "x"}}),
        json!({"messaging_product": "whatsapp", "to": to, "type": "teleport", "teleport": {}}),
        json!({"messaging_product": "whatsapp", "status": "read", "message_id": "nonsense"}),
        json!({"messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": "x".repeat(2_000_000)}}),
    ] {
        let answer = rest.post(suite.number(0), None, &message).await?;
        let shown = message.to_string();
        let shown = &shown[..shown.len().min(120)];
        ensure!(
            (400..500).contains(&answer.status),
            "{shown}: {} {}",
            answer.status,
            answer.body
        );
        ensure!(
            answer.body["error"]["code"].is_number(),
            "{shown}: {} {}",
            answer.status,
            answer.body
        );
    }
    Ok(())
}

fn host_port(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest).to_owned()
}
