//! How long each service takes from the start of its process until it serves: with nothing in it, and with 100,000 persons and
//! their sessions, messages and devices; after an orderly end, and after a kill.
//!
//! A program, not a test: `make start`. It measures the binaries beside it, or those in `SEALPOST_BINARIES`, and prints a table and a
//! line of JSON. What it fills databases with has the right size and place and opens under no key.

mod filling;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use filling::ROWS;
use rustix::process::{Pid, Signal, kill_process};
use sealpost_tests::channel::channel;
use sealpost_tests::database::Kind;
use sealpost_tests::identity::Certificate;
use sealpost_tests::{Options, Suite, binaries::SERVICES, progress, run_file};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// Starts of each kind.
const TIMES: usize = 5;
const LOOK: Duration = Duration::from_millis(2);
const START_TIME: Duration = Duration::from_secs(120);

/// How the process before ended.
#[derive(Clone, Copy)]
enum End {
    InOrder,
    Killed,
}

/// The times of a service in one state of its data, in milliseconds, sorted.
struct Starts {
    service: &'static str,
    data: &'static str,
    in_order: Vec<f64>,
    killed: Vec<f64>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let suite = Suite::up(Options {
        database: Some(Kind::Sqlite),
        ..Options::default()
    })
    .await?;
    let mut found = Vec::new();
    for service in SERVICES {
        found.push(starts(&suite, service, "empty").await?);
    }
    for service in ["key-vault", "store", "relay"] {
        progress(&format!("{ROWS} rows for the {service}"));
        suite.stop(service).await?;
        let folder = suite.run_file()?.service(service)?.data.clone();
        filling::fill(
            service,
            &folder.join(format!("{service}.db")),
            suite.number(0),
        )
        .await?;
        suite.start(service).await?;
        found.push(starts(&suite, service, "100,000").await?);
    }
    report(&found);
    suite.check_no_panic()
}

async fn starts(suite: &Suite, name: &'static str, data: &'static str) -> anyhow::Result<Starts> {
    let run = suite.run_file()?;
    suite.stop(name).await?;
    let service = run.service(name)?;
    let rest = run.connector.url.trim_end_matches('/');
    let certificate = Certificate {
        certificate: run.tls.operator_cert.clone(),
        private_key: run.tls.operator_key.clone(),
        id: String::new(),
    };
    // The first finds nothing in the page cache that the filling left out.
    time(service, &certificate, rest, End::InOrder).await?;
    let mut sorted = [End::InOrder, End::Killed].map(|_| Vec::new());
    for (end, times) in [End::InOrder, End::Killed].into_iter().zip(&mut sorted) {
        // A kill shows at the next start.
        if matches!(end, End::Killed) {
            time(service, &certificate, rest, End::Killed).await?;
        }
        for _ in 0..TIMES {
            times.push(time(service, &certificate, rest, end).await?.as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
    }
    suite.start(name).await?;
    let [in_order, killed] = sorted;
    Ok(Starts {
        service: name,
        data,
        in_order,
        killed,
    })
}

/// Starts a service's process, waits until it serves, and ends it.
async fn time(
    service: &run_file::Service,
    certificate: &Certificate,
    rest: &str,
    end: End,
) -> anyhow::Result<Duration> {
    let mut command = Command::new(&service.argv[0]);
    command.args(&service.argv[1..]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let begun = Instant::now();
    let mut process = command.spawn()?;
    let serves = timeout(START_TIME, serves(service, certificate, rest)).await;
    let taken = begun.elapsed();
    let ended = stop(&mut process, end).await;
    serves.with_context(|| format!("{} does not serve", service.service))??;
    ended?;
    Ok(taken)
}

async fn serves(
    service: &run_file::Service,
    certificate: &Certificate,
    rest: &str,
) -> anyhow::Result<()> {
    // The connector has no gRPC face: that it listens is all that can be asked for.
    let (address, is_grpc) = match &service.grpc {
        Some(address) => (address.as_str(), true),
        None => (rest.trim_start_matches("http://"), false),
    };
    // A channel waits ever longer after each refusal: a socket tells when it is worth a try.
    while TcpStream::connect(address).await.is_err() {
        sleep(LOOK).await;
    }
    if !is_grpc {
        return Ok(());
    }
    let mut health = HealthClient::new(channel(address, Some(certificate))?);
    loop {
        let check = health.check(HealthCheckRequest::default()).await;
        if check.is_ok_and(|answer| answer.get_ref().status() == ServingStatus::Serving) {
            return Ok(());
        }
        sleep(LOOK).await;
    }
}

async fn stop(process: &mut Child, end: End) -> anyhow::Result<()> {
    let signal = match end {
        End::InOrder => Signal::TERM,
        End::Killed => Signal::KILL,
    };
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.context("not a pid")?, signal)?;
    let begun = Instant::now();
    while process.try_wait()?.is_none() {
        ensure!(begun.elapsed() < START_TIME, "it does not end");
        sleep(LOOK).await;
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a program that prints its findings")]
fn report(found: &[Starts]) {
    println!(
        "| service | persons | after an orderly end: median | longest | after a kill: median | longest |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    let mut lines = Vec::new();
    for starts in found {
        let [in_order, killed] = [&starts.in_order, &starts.killed]
            .map(|times| (times[times.len() / 2], times[times.len() - 1]));
        println!(
            "| {} | {} | {:.0} ms | {:.0} ms | {:.0} ms | {:.0} ms |",
            starts.service, starts.data, in_order.0, in_order.1, killed.0, killed.1
        );
        lines.push(json!({
            "service": starts.service,
            "persons": starts.data,
            "in_order_ms": starts.in_order,
            "killed_ms": starts.killed,
        }));
    }
    println!("{}", json!({ "starts": lines }));
}
