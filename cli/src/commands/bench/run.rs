//! One run: boots the drivers, lets messages flow, measures the stretch that counts, and waits for the last message.

use std::time::{Duration, Instant};

use anyhow::Context;
use sealpost_runtime::Clock;
use tempfile::TempDir;
use tokio::time::sleep;

use super::crew::Driver;
use super::driver::Part;
use super::measure::Kind;
use super::measure::{Sample, Subject};
use super::plan::{Flow, Plan};
use super::report::{Measured, Moment};
use super::talk::{Order, Progress};
use super::time::{self, SECOND};
use crate::output::Output;

/// Between two lines about how far it is.
const LINE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(50);
/// Between two entries of a timeline, in nanoseconds.
const MOMENT: u64 = SECOND / 4;
/// How long nothing may arrive before what is missing is lost.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long repeats are waited for once everything is there.
const QUIET: Duration = Duration::from_millis(500);

/// Everything that a run needs.
pub struct Run<'a> {
    /// What to do. The socket is made here.
    pub plan: Plan,
    /// How long it flows before it counts.
    pub warm_up: Duration,
    /// How long it counts, unless a number of messages decides.
    pub seconds: Duration,
    /// The suite's processes.
    pub subjects: Vec<Subject>,
    /// Where progress goes.
    pub output: &'a Output,
}

/// Both drivers.
struct Crew {
    business: Driver,
    consumers: Driver,
    /// Where their socket is.
    _folder: TempDir,
}

impl Run<'_> {
    /// Runs it.
    pub async fn run(mut self) -> anyhow::Result<Measured> {
        let mut crew = self.crew().await?;
        let from = time::now() + u64::try_from(self.warm_up.as_nanos())?;
        let seconds = u64::try_from(self.seconds.as_nanos())?;
        let until = match self.plan.messages {
            Some(_) => u64::MAX,
            None => from + seconds,
        };
        let end = match self.plan.then_rate {
            Some(_) => until.saturating_add(seconds),
            None => until,
        };
        let mut timeline = Timeline::new(&self.plan, from);
        let mut progress = Lines::new(self.plan.flows.clone(), *self.output);
        crew.order(Order::Go { from, until, end }).await?;
        while time::now() < from {
            crew.look(&mut progress).await?;
        }
        let before = Sample::take(&self.subjects);
        let begun = time::now();
        let mut settled = Settling::new();
        while time::now() < until && !(until == u64::MAX && settled.is_over(&crew)) {
            crew.look(&mut progress).await?;
            timeline.note(&crew);
        }
        let after = Sample::take(&self.subjects);
        let ended = time::now();
        while self.plan.then_rate.is_some() && time::now() < end {
            crew.look(&mut progress).await?;
            timeline.note(&crew);
        }
        let stopped = time::now();
        crew.order(Order::Stop).await?;
        let mut settled = Settling::new();
        while !settled.is_over(&crew) {
            crew.look(&mut progress).await?;
        }
        let drained = time::now() - stopped;
        sleep(QUIET).await;
        Ok(Measured {
            seconds: (ended - begun) as f64 / SECOND as f64,
            drained: drained as f64 / SECOND as f64,
            timeline: timeline.moments,
            subjects: self.subjects,
            before,
            after,
            business: crew.business.finish().await?,
            consumers: crew.consumers.finish().await?,
            plan: self.plan,
        })
    }

    async fn crew(&mut self) -> anyhow::Result<Crew> {
        let folder = tempfile::Builder::new()
            .prefix("sealpost-bench-")
            .tempdir()?;
        self.plan.link = folder.path().join("link");
        let begun = Instant::now();
        self.output.note(&format!(
            "{} consumers register, their state in memory",
            self.plan.consumers
        ));
        let mut crew = Crew {
            business: Driver::start(Part::Business, &self.plan).await?,
            consumers: Driver::start(Part::Consumers, &self.plan).await?,
            _folder: folder,
        };
        crew.consumers.ready().await?;
        crew.business.ready().await?;
        self.output.note(&format!(
            "they are ready after {:.1} s; messages flow",
            begun.elapsed().as_secs_f32()
        ));
        for driver in [&crew.business, &crew.consumers] {
            self.subjects.push(Subject {
                name: driver.name().to_owned(),
                kind: Kind::One(driver.pid()),
                is_counted: false,
            });
        }
        Ok(crew)
    }
}

impl Crew {
    async fn order(&mut self, order: Order) -> anyhow::Result<()> {
        self.business.order(order).await?;
        self.consumers.order(order).await
    }

    async fn look(&mut self, lines: &mut Lines) -> anyhow::Result<()> {
        self.business.check()?;
        self.consumers.check()?;
        lines.tell(self);
        sleep(LOOK).await;
        Ok(())
    }

    /// The sender's progress and the receiver's.
    fn ends(&self, flow: Flow) -> (Progress, Progress) {
        let (business, consumers) = (self.business.progress(), self.consumers.progress());
        match flow {
            Flow::Out => (business, consumers),
            Flow::In => (consumers, business),
        }
    }
}

/// What has happened, from time to time.
struct Timeline {
    /// The direction that is noted; none: nothing is.
    flow: Option<Flow>,
    from: u64,
    moments: Vec<Moment>,
    next: u64,
}

impl Timeline {
    fn new(plan: &Plan, from: u64) -> Self {
        Self {
            flow: plan.then_rate.and(plan.flows.first().copied()),
            from,
            moments: Vec::new(),
            next: from,
        }
    }

    fn note(&mut self, crew: &Crew) {
        let now = time::now();
        let Some(flow) = self.flow.filter(|_| now >= self.next) else {
            return;
        };
        self.next = now + MOMENT;
        let (sender, receiver) = crew.ends(flow);
        self.moments.push(Moment {
            at: (now.saturating_sub(self.from)) as f64 / SECOND as f64,
            offered: sender.sent,
            accepted: sender.accepted,
            refused: sender.refused,
            delivered: receiver.delivered,
        });
    }
}

/// Waits until everything that was sent has arrived, or nothing more does.
struct Settling {
    last: (u64, Instant),
}

impl Settling {
    fn new() -> Self {
        Self {
            last: (0, Instant::now()),
        }
    }

    fn is_over(&mut self, crew: &Crew) -> bool {
        let ends = [Flow::Out, Flow::In].map(|flow| crew.ends(flow));
        let moved = ends
            .iter()
            .map(|(sender, receiver)| sender.sent + receiver.delivered)
            .sum();
        if moved != self.last.0 {
            self.last = (moved, Instant::now());
        }
        let is_complete = ends.iter().all(|(sender, receiver)| {
            sender.has_sent_all
                && receiver.delivered + sender.refused >= sender.sent
                && sender.accepted + sender.refused >= sender.sent
        });
        is_complete || self.last.1.elapsed() > PATIENCE
    }
}

/// A line a second about how far it is.
struct Lines {
    flows: Vec<Flow>,
    output: Output,
    begun: Instant,
    last: Instant,
    before: Vec<(u64, u64)>,
}

impl Lines {
    fn new(flows: Vec<Flow>, output: Output) -> Self {
        Self {
            before: vec![(0, 0); flows.len()],
            flows,
            output,
            begun: Instant::now(),
            last: Instant::now(),
        }
    }

    fn tell(&mut self, crew: &Crew) {
        let passed = self.last.elapsed();
        if passed < LINE {
            return;
        }
        self.last = Instant::now();
        let mut line = format!("[{:4.0} s]", self.begun.elapsed().as_secs_f32());
        for (flow, before) in self.flows.iter().zip(&mut self.before) {
            let (sender, receiver) = crew.ends(*flow);
            let now = (sender.accepted, receiver.delivered);
            let rate =
                |now: u64, before: u64| now.saturating_sub(before) as f64 / passed.as_secs_f64();
            line.push_str(&format!(
                " {}: accepted {:.0}/s, delivered {:.0}/s, {} in flight;",
                flow.name(),
                rate(now.0, before.0),
                rate(now.1, before.1),
                sender
                    .sent
                    .saturating_sub(sender.refused + receiver.delivered)
            ));
            *before = now;
        }
        self.output.note(line.trim_end_matches(';'));
    }
}

/// A label of this run, and phone numbers that no other run has soon.
pub fn fresh() -> anyhow::Result<(u32, u64)> {
    const FIRST: u64 = 15_560_000_000;
    let label = Clock::system().now().as_millis() / 100;
    let run = u32::try_from(label & u64::from(u32::MAX)).context("a label")?;
    Ok((run, FIRST + u64::from(run % 1000) * 10_000))
}
