//! `sealpost admin chaos`: disturbs a running suite at random while messages flow both ways, and counts at the end whether each
//! arrived once and in order.
//!
//! It needs nothing of the suite but what any operator, business and consumer has.

mod business;
mod consumer;
mod disturb;
mod plan;
mod report;
mod tally;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use sealpost_runtime::{Clock, process, shutdown};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::business::{Business, Face};
use self::consumer::Consumer;
use self::disturb::Disturber;
use self::plan::{Disturbance, Kind, Plan};
use self::report::Report;
use self::tally::Tally;
use crate::business::{advise, client};
use crate::duration;
use crate::output::Output;
use crate::running::Running;
use crate::suite::own::OwnSuite;

/// How long nothing more may come before what came is final: late repeats show within it.
const QUIET: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(250);
/// Between two lines about how far it is.
const PROGRESS: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "Examples:
  sealpost admin chaos --minutes 5
  sealpost admin chaos --dir sealpost-dev --kinds kill,pause --only store --only relay
  sealpost admin chaos --seed 4711 --json -- --regions eu,na";

/// Disturb a suite at random while messages flow both ways, and count that each arrives once and in order
///
/// Without --dir a suite is made for it and taken away again. Consumers of the suite answer every text that the business sends.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Chaos {
    /// How long messages flow
    #[arg(long, default_value = "5", value_parser = minutes)]
    minutes: Duration,
    /// Makes the disturbances of an earlier run again [default: another each time]
    #[arg(long)]
    seed: Option<u64>,
    /// How long the suite is left alone between two disturbances, on average
    #[arg(long, default_value = "3s", value_parser = duration::parse)]
    pause: Duration,
    /// Disturb only this service; may be given several times
    #[arg(long, value_name = "SERVICE")]
    only: Vec<String>,
    /// How services are disturbed
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Kind::Kill, Kind::Pause, Kind::Restart, Kind::Clock])]
    kinds: Vec<Kind>,
    /// Consumers that take part
    #[arg(long, default_value_t = 4)]
    consumers: usize,
    /// Texts that the business sends each second, to all of them together
    #[arg(long, default_value_t = 20)]
    rate: u32,
    /// How long the last texts may take to be accepted, and then to arrive, once nothing is disturbed any more
    #[arg(long, default_value = "3m", value_parser = duration::parse)]
    patience: Duration,
    /// Further options of `sealpost up` for a suite that is made
    #[arg(last = true)]
    up: Vec<String>,
}

impl Chaos {
    /// Runs it, on the suite in `dir` or on one of its own. Fails when a text was lost, doubled or out of order.
    pub async fn run(self, dir: Option<&Path>, output: Output) -> anyhow::Result<()> {
        process::harden()?;
        ensure!(self.consumers > 0, "--consumers is at least 1");
        ensure!(self.rate > 0, "--rate is at least 1");
        let stop = shutdown::on_signals()?;
        if let Some(dir) = dir {
            ensure!(
                self.up.is_empty(),
                "options for `sealpost up` are for a suite that is made: leave --dir out"
            );
            return self.disturb(dir, &stop, output).await;
        }
        let mut options = vec![
            "--supervise".to_owned(),
            "--clock-file".to_owned(),
            format!("--consumers={}", self.consumers),
        ];
        options.extend(self.up.iter().cloned());
        let own = OwnSuite::up("chaos", &options, None).await?;
        let ran = self.disturb(own.dir(), &stop, output).await;
        let down = own.down().await;
        ran.and(down)
    }

    async fn disturb(
        &self,
        dir: &Path,
        stop: &CancellationToken,
        output: Output,
    ) -> anyhow::Result<()> {
        let suite = Running::open(dir)?;
        let seed = self
            .seed
            .unwrap_or_else(|| Clock::system().now().as_millis());
        let plan = self.plan(&suite, seed)?;
        let number = suite.number(None)?.phone_number_id.parse()?;
        let label = format!("chaos-{:x}", Clock::system().now().as_millis());
        let begun = Instant::now();
        let tally = Arc::new(Tally::new(
            label.clone(),
            suite.number(None)?.phone_number_id.clone(),
            begun,
        ));
        let consumers = self.consumers(&suite, &tally)?;
        let business = Business::new(&suite, client(&suite)?, number, tally.clone());
        let business = Arc::new(business);
        let events = business.subscribe(&label).map_err(advise)?;
        let listener = business.clone();
        let listening = tokio::spawn(async move { listener.listen(events).await });
        output.note(&format!(
            "seed {seed}: messages flow for {} between {} and {} consumers",
            duration::show(self.minutes),
            suite.number(None)?.phone_number,
            consumers.len()
        ));

        let disturber = Disturber::new(dir.to_owned(), suite.layout.run_file());
        let over = CancellationToken::new();
        let mut writing = self.write(&business, &consumers, &over);
        let mut disturbances = Vec::new();
        let ran = tokio::select! {
            ran = disturb_on(plan, &disturber, begun, &mut disturbances, output) => ran,
            () = tell(&tally, begun, self.minutes, output) => Ok(()),
            () = sleep(self.minutes) => Ok(()),
            () = stop.cancelled() => Ok(()),
        };
        let flowed = begun.elapsed();
        output.note("nothing is disturbed any more; the last texts arrive");
        let healed = timeout(self.patience, disturber.heal()).await;
        over.cancel();
        while let Some(wrote) = writing.join_next().await {
            wrote??;
        }
        let settled = settle(&tally, self.patience).await;
        listening.abort();
        for consumer in consumers {
            consumer.leave().await?;
        }
        ran?;
        healed.context("the services did not come back")??;

        let report = Report::new(seed, flowed, settled, &disturbances, &tally);
        output.say(&report.words(), &report.json())?;
        ensure!(
            report.faults() == 0,
            "{} faults; `--seed {seed}` disturbs in the same way again",
            report.faults()
        );
        Ok(())
    }

    fn plan(&self, suite: &Running, seed: u64) -> anyhow::Result<Plan> {
        let known: Vec<_> = suite.run.services.keys().cloned().collect();
        for name in &self.only {
            ensure!(
                known.contains(name),
                "this suite has no service {name}: it has {}",
                known.join(", ")
            );
        }
        let services = if self.only.is_empty() {
            known
        } else {
            self.only.clone()
        };
        let mut kinds = self.kinds.clone();
        if !suite.follows_clock_file()? {
            kinds.retain(|kind| *kind != Kind::Clock);
        }
        Ok(Plan::new(seed, services, kinds, self.pause))
    }

    fn consumers(&self, suite: &Running, tally: &Arc<Tally>) -> anyhow::Result<Vec<Consumer>> {
        let known = suite.run.consumers.iter().take(self.consumers);
        let consumers = known.map(|known| {
            Consumer::online(
                suite,
                &known.phone_number,
                &known.state,
                suite.clock()?,
                tally.clone(),
            )
        });
        let consumers = consumers.collect::<anyhow::Result<Vec<_>>>()?;
        ensure!(
            !consumers.is_empty(),
            "the suite has no consumers: start it with `sealpost up --consumers 4`"
        );
        Ok(consumers)
    }

    /// Every second conversation goes over REST, the others over gRPC.
    fn write(
        &self,
        business: &Arc<Business>,
        consumers: &[Consumer],
        over: &CancellationToken,
    ) -> JoinSet<anyhow::Result<()>> {
        let pace = Duration::from_secs_f64(consumers.len() as f64 / f64::from(self.rate));
        let mut writing = JoinSet::new();
        for (index, consumer) in consumers.iter().enumerate() {
            let (business, phone, over) = (business.clone(), consumer.phone.clone(), over.clone());
            let face = [Face::Rest, Face::Grpc][index % 2];
            let patience = self.patience;
            writing.spawn(async move { business.write(&phone, face, pace, &over, patience).await });
        }
        writing
    }
}

/// One disturbance after the other; ends only by a failure.
async fn disturb_on(
    plan: Plan,
    disturber: &Disturber,
    begun: Instant,
    done: &mut Vec<Disturbance>,
    output: Output,
) -> anyhow::Result<()> {
    for one in plan {
        sleep(one.after).await;
        output.note(&format!("[{:6.1} s] {one}", begun.elapsed().as_secs_f32()));
        done.push(one.clone());
        disturber.disturb(&one).await?;
    }
    // Nothing to disturb: messages flow all the same.
    std::future::pending().await
}

/// How far it is, again and again.
async fn tell(tally: &Tally, begun: Instant, whole: Duration, output: Output) {
    let mut turns = interval(PROGRESS);
    turns.tick().await;
    loop {
        turns.tick().await;
        let figures = tally.figures();
        output.note(&format!(
            "{} of {}: accepted {} of {} sent, delivered {}, replied {}; longest time without an acceptance {:.1} s",
            duration::show(begun.elapsed()),
            duration::show(whole),
            figures.accepted,
            figures.sent,
            figures.delivered,
            figures.replied,
            figures.longest_gap.length.as_secs_f32()
        ));
    }
}

/// Waits until everything has arrived and nothing more comes, or patience ends. Answers how long that took.
async fn settle(tally: &Tally, patience: Duration) -> Duration {
    let begun = Instant::now();
    let mut figures = tally.figures();
    let mut changed = begun;
    let mut complete = None;
    while begun.elapsed() < patience || complete.is_some() {
        sleep(LOOK).await;
        let now = tally.figures();
        if now != figures {
            (figures, changed) = (now, Instant::now());
        }
        if complete.is_none() && tally.nothing_is_missing() {
            complete = Some(begun.elapsed());
        }
        if complete.is_some() && changed.elapsed() > QUIET {
            break;
        }
    }
    complete.unwrap_or_else(|| begun.elapsed())
}

/// Minutes, also parts of one.
fn minutes(text: &str) -> Result<Duration, String> {
    let count: f64 = text
        .parse()
        .map_err(|_| "write a number of minutes: 5, 0.5")?;
    if !(0.0..=100_000.0).contains(&count) {
        return Err("that is no number of minutes to wait".to_owned());
    }
    Ok(Duration::from_secs_f64(count * 60.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_may_be_parts_of_one() {
        assert_eq!(minutes("5"), Ok(Duration::from_secs(300)));
        assert_eq!(minutes("0.5"), Ok(Duration::from_secs(30)));
        for text in ["-1", "", "5m", "inf", "NaN"] {
            assert!(minutes(text).is_err(), "{text}");
        }
    }
}
