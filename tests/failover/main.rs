//! The whole suite on a PostgreSQL under Patroni, messages flowing both ways, and the primary killed or hung again and again:
//! how long nothing is accepted each time, and whether anything that was accepted is lost, doubled or out of order.
//!
//! A program, not a test: `make failover` runs it. It prints a table and a line of JSON, and fails when a message is missing.
//! `SEALPOST_TESTS_KEEP=1` keeps the cluster's folder, with every log.

mod cluster;
mod preparing;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use cluster::Cluster;
use rustix::process::Signal;
use sealpost_cli::ledger::{Fault, Way};
use sealpost_tests::boot::KEEP;
use sealpost_tests::consumer::Consumer;
use sealpost_tests::program::Program;
use sealpost_tests::traffic::Traffic;
use sealpost_tests::{Options, Suite, progress};
use serde_json::json;
use tokio::time::sleep;

const CONSUMERS: usize = 4;
/// Between two texts of a conversation, either way.
const PACE: Duration = Duration::from_millis(100);
/// How long messages flow undisturbed before each failover.
const CALM: Duration = Duration::from_secs(5);
/// How long a hung primary hangs on after another took over.
const HUNG: Duration = Duration::from_secs(5);
/// How long the last messages may take to arrive: what consumers wrote meanwhile waits behind each other.
const LATER: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_millis(10);

/// What happens to the primary.
#[derive(Clone, Copy, Debug)]
enum How {
    /// Everything of it is killed, as a power cut would.
    Killed,
    /// Its PostgreSQL alone is killed; its Patroni lives.
    Crashed,
    /// Everything of it stops in mid-step, and goes on after another took over.
    Hung,
}

const FAILOVERS: [How; 6] = [
    How::Killed,
    How::Hung,
    How::Crashed,
    How::Killed,
    How::Hung,
    How::Crashed,
];

/// One failover.
struct Failover {
    how: How,
    from: String,
    to: String,
    /// Until another member was the primary.
    replaced: Duration,
    /// The longest time without an acceptance, from the fault until the cluster was whole again.
    gap: Duration,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Both HTTP clients here build TLS though they speak plain HTTP on loopback; one of them may be the first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::Builder::new()
        .prefix("sealpost-failover-")
        .disable_cleanup(std::env::var_os(KEEP).is_some())
        .tempdir()?;
    let mut cluster = Cluster::up(folder.path()).await?;
    progress("Patroni has a primary, a synchronous standby and one more");
    let suite = Suite::up(Options {
        consumers: CONSUMERS,
        standby_server: Some(cluster.url().leak()),
        ..Options::default()
    })
    .await?;
    let mut consumers = Vec::new();
    for index in 0..CONSUMERS {
        consumers.push(Consumer::online(&suite, index)?);
    }
    let program = Program::start(&suite, "failover")?;
    let traffic = Traffic::of_program(&suite, &program, &consumers, "failover");

    let over = AtomicBool::new(false);
    let disturb = async {
        let mut failovers = Vec::new();
        for how in FAILOVERS {
            sleep(CALM).await;
            failovers.push(fail_over(&mut cluster, how, &traffic).await?);
        }
        sleep(CALM).await;
        over.store(true, Ordering::SeqCst);
        anyhow::Ok(failovers)
    };
    let flow = traffic.send_while(|_| !over.load(Ordering::SeqCst), PACE);
    let (failovers, accepted) = tokio::try_join!(disturb, flow)?;
    let checked = traffic.check(&accepted, LATER).await;
    let faults = accepted.faults(&traffic.delivered());
    report(
        &failovers,
        accepted.count(Way::Out),
        accepted.count(Way::In),
        &faults,
    );
    checked?;
    suite.check_no_panic()
}

async fn fail_over(
    cluster: &mut Cluster,
    how: How,
    traffic: &Traffic<'_>,
) -> anyhow::Result<Failover> {
    cluster.until_whole().await?;
    let from = cluster.primary().await;
    let from = from.ok_or_else(|| anyhow::anyhow!("there is no primary"))?;
    progress(&format!("{} is {how:?}", cluster.name(from)));
    let begun = Instant::now();
    match how {
        How::Killed => cluster.kill(from)?,
        How::Crashed => cluster.crash(from)?,
        How::Hung => cluster.signal(from, Signal::STOP)?,
    }
    let watched = async {
        let to = cluster.until_replaced(from).await?;
        let replaced = begun.elapsed();
        match how {
            How::Killed => cluster.start(from)?,
            // Its Patroni brings it back.
            How::Crashed => {}
            How::Hung => {
                sleep(HUNG).await;
                cluster.signal(from, Signal::CONT)?;
            }
        }
        cluster.until_whole().await?;
        // What the whole cluster makes possible has been seen to happen.
        let so_far = traffic.accepted_out.load(Ordering::SeqCst);
        while traffic.accepted_out.load(Ordering::SeqCst) == so_far {
            ensure!(begun.elapsed() < LATER, "nothing is accepted any more");
            sleep(LOOK).await;
        }
        anyhow::Ok((to, replaced))
    };
    let (watched, gap) = measure(traffic, watched).await;
    let (to, replaced) = watched?;
    progress(&format!(
        "{} took over after {:.1} s; nothing was accepted for {:.1} s",
        cluster.name(to),
        replaced.as_secs_f32(),
        gap.as_secs_f32()
    ));
    Ok(Failover {
        how,
        from: cluster.name(from).to_owned(),
        to: cluster.name(to).to_owned(),
        replaced,
        gap,
    })
}

/// The longest time without an acceptance while `work` goes on.
async fn measure<T>(traffic: &Traffic<'_>, work: impl Future<Output = T>) -> (T, Duration) {
    let accepted = || traffic.accepted_out.load(Ordering::SeqCst);
    let mut last = (accepted(), Instant::now());
    let mut longest = Duration::ZERO;
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return (done, longest.max(last.1.elapsed())),
            () = sleep(LOOK) => {
                let now = accepted();
                longest = longest.max(last.1.elapsed());
                if now != last.0 {
                    last = (now, Instant::now());
                }
            }
        }
    }
}

#[expect(clippy::print_stdout, reason = "a program that prints its findings")]
fn report(failovers: &[Failover], out: usize, into: usize, faults: &[Fault]) {
    let count = |wanted: fn(&Fault) -> bool| faults.iter().filter(|fault| wanted(fault)).count();
    let lost = count(|fault| matches!(fault, Fault::Lost(..)));
    let doubled = count(|fault| matches!(fault, Fault::Doubled(..)));
    let disordered = count(|fault| matches!(fault, Fault::Disordered(..)));
    println!("| primary | was | new primary | after | nothing accepted for |");
    println!("| --- | --- | --- | --- | --- |");
    for one in failovers {
        let (replaced, gap) = (one.replaced.as_secs_f32(), one.gap.as_secs_f32());
        println!(
            "| {} | {:?} | {} | {replaced:.1} s | {gap:.1} s |",
            one.from, one.how, one.to
        );
    }
    println!(
        "accepted {out} out and {into} in; lost {lost}, doubled {doubled}, out of order {disordered}"
    );
    let failovers: Vec<_> = failovers
        .iter()
        .map(|one| {
            json!({
                "primary": one.from,
                "was": format!("{:?}", one.how),
                "new_primary": one.to,
                "replaced_seconds": one.replaced.as_secs_f64(),
                "gap_seconds": one.gap.as_secs_f64(),
            })
        })
        .collect();
    println!(
        "{}",
        json!({
            "failovers": failovers,
            "accepted_out": out,
            "accepted_in": into,
            "lost": lost,
            "doubled": doubled,
            "disordered": disordered,
        })
    );
}
