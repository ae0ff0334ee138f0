//! `sealpost bench`: how much a suite carries, how long it takes, and what that costs each of its processes.
//!
//! The command is the coordinator: it boots the suite, starts one process that plays the business and one that plays all
//! consumers, and measures every process from outside. Invariant: nothing counts that was not verified, message by message.

mod crew;
pub mod driver;
mod header;
mod latency;
mod measure;
mod order;
mod plan;
mod report;
mod run;
mod signal;
mod talk;
mod time;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use sealpost_runtime::shutdown;
use serde_json::json;

use self::measure::{Kind, Subject, find_postgres};
use self::plan::{Beside, Flow, Plan};
use self::report::{Around, Report};
use self::run::Run;
use crate::output::Output;
use crate::running::Running;
use crate::suite::databases;
use crate::suite::own::OwnSuite;
use crate::suite::service::Service;

const DEFAULT_SESSIONS: u64 = 2000;

const EXAMPLES: &str = "Examples:
  sealpost bench
  sealpost bench --direction both --in-flight 512 --seconds 60
  sealpost bench --rate 500 --json
  sealpost bench --new-sessions --messages 5000
  sealpost bench --database postgres://admin@localhost/postgres

What it tells (--json has the same under these names):
  accepted_per_s   out: durable at the gateway; in: taken by the relay
  delivered_per_s  decrypted and verified at the other end
  statuses_per_s   statuses (sent, delivered) that the business was told of its messages, two of each when all is well
  latency_ms       from when a message was meant to leave. With --rate that is its place on a fixed schedule, so that a
                   message that waits behind a stall counts in full; without, it is when the window had room for it
  processes        per message delivered; the processor time of those with counted = true is compared with libsignal's
  libsignal_us     read a session of as many turns, encrypt 1 KB, write it: libsignal alone, one thread, measured here before
  refused          messages that were refused for good. With --on-refusal count each is counted by its code, and never sent again
  drained_s        from the end of the stretch until all that was accepted had arrived
  timeline         with --then-rate: what had happened in all, four times a second, from the beginning of the stretch
  cpu_ratio        processor time of all counted processes for a message, divided by libsignal_us
  verified         every message of the run, the warm-up too: any lost, repeated or out of order makes the command fail";

/// Measure a suite under load: throughput, latency, and what each process spends on a message
///
/// Without --dir a suite is made for it on this machine and taken away again. Consumers are registered for the run and keep their
/// state in memory; each conversation begins with messages each way that do not count.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Bench {
    /// Folder of a running suite to measure, which is not changed but by the traffic [default: one is made]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Which way messages flow; both at once share the machine, each with a window and a rate of its own
    #[arg(long, value_enum, default_value_t = Direction::Out)]
    direction: Direction,
    /// End after so many messages instead of after a time [default with --new-sessions: 2000]
    #[arg(long)]
    messages: Option<u64>,
    /// How long it is measured
    #[arg(long, value_name = "SECONDS", default_value_t = 20.0)]
    seconds: f64,
    /// How long messages flow before they count
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    warm_up: f64,
    /// Consumers, each with a conversation; messages go round
    #[arg(long, default_value_t = 64)]
    consumers: usize,
    /// Numbers of the business, over which consumers are spread
    #[arg(long, default_value_t = 1)]
    numbers: usize,
    /// Characters of each text, 42 to 4096
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Messages that may be sent and not yet decrypted, all conversations together
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// Messages a second, on a fixed schedule [default: as many as the window lets through]
    #[arg(long)]
    rate: Option<f64>,
    /// What a refusal means. With `count` nothing holds a message back whose turn has come: what the gateway cannot take is
    /// refused, counted and not sent again
    #[arg(long, value_enum, default_value_t = OnRefusal::Fail, requires_if("count", "rate"))]
    on_refusal: OnRefusal,
    /// After the stretch that counts, go on for as long again at this rate: how a suite recovers
    #[arg(long, value_name = "RATE", requires = "rate")]
    then_rate: Option<f64>,
    /// Somebody who misbehaves meanwhile, and does not count
    #[arg(long, value_enum, default_value_t = Beside::Nobody)]
    beside: Beside,
    /// For the suite that is made: messages a second that each number may send [default: no limit]
    #[arg(long, default_value_t = 0, conflicts_with = "dir")]
    rate_limit: u32,
    /// A word for the report's notes: what a reader must know of this suite
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Messages each way with which each conversation begins, which do not count: after five a session has its full size, as those
    /// of living conversations do
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=100))]
    turns: u32,
    /// Send each message to another consumer, who has no session yet: PQXDH each time
    #[arg(long)]
    new_sessions: bool,
    /// For the suite that is made: postgres://user[:password]@host:port/database, as for `sealpost up` [default: SQLite files]
    // Read later: clap repeats what it cannot read, and this can hold a password.
    #[arg(
        long,
        value_name = "URL",
        env = "SEALPOST_UP_DATABASE",
        hide_env_values = true,
        conflicts_with = "dir"
    )]
    database: Option<String>,
}

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnRefusal {
    /// The run failed
    Fail,
    /// One message less
    Count,
}

/// Which way messages flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Direction {
    /// Business to consumers
    Out,
    /// Consumers to business
    In,
    /// Both at once
    Both,
}

impl Bench {
    /// Runs it. Fails when a message was lost, repeated or out of order.
    pub async fn run(self, output: Output) -> anyhow::Result<()> {
        self.check()?;
        let stop = shutdown::on_signals()?;
        output.note("libsignal alone is measured");
        let libsignal_us = signal::micros_per_message(self.turns)?;
        let measured = async |dir: &Path| {
            tokio::select! {
                reports = self.measure(dir, libsignal_us, output) => reports,
                () = stop.cancelled() => Err(anyhow::anyhow!("stopped")),
            }
        };
        let reports = match &self.dir {
            Some(dir) => measured(dir).await,
            None => {
                let own = self.boot().await?;
                let reports = measured(own.dir()).await;
                let down = self.take_away(own).await;
                reports.and_then(|reports| down.map(|()| reports))
            }
        }?;
        self.tell(&reports, output)
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(
            (1..=10_000).contains(&self.consumers),
            "--consumers is 1 to 10,000"
        );
        ensure!(self.numbers > 0, "--numbers is at least 1");
        ensure!(self.in_flight > 0, "--in-flight is at least 1");
        ensure!(
            (header::LEN..=4096).contains(&self.size),
            "--size is {} to 4096",
            header::LEN
        );
        ensure!(self.seconds > 0.0, "--seconds is more than 0");
        ensure!(self.warm_up >= 0.0, "--warm-up is not less than 0");
        ensure!(
            self.in_flight <= 4096,
            "--in-flight is at most 4,096: the SDK holds no more"
        );
        ensure!(
            self.then_rate.is_none_or(|rate| rate > 0.0),
            "--then-rate is more than 0"
        );
        ensure!(
            self.rate.is_none_or(|rate| rate > 0.0),
            "--rate is more than 0"
        );
        let sessions = self.messages.unwrap_or(DEFAULT_SESSIONS);
        ensure!(
            !self.new_sessions || (1..=10_000).contains(&sessions),
            "--messages is 1 to 10,000 with --new-sessions: each is a consumer's"
        );
        Ok(())
    }

    async fn boot(&self) -> anyhow::Result<OwnSuite> {
        let options = [
            "--consumers=0".to_owned(),
            format!("--numbers={}", self.numbers + self.beside.numbers()),
            format!("--rate-limit={}", self.rate_limit),
        ];
        OwnSuite::up("bench", &options, self.database.as_deref()).await
    }

    async fn take_away(&self, own: OwnSuite) -> anyhow::Result<()> {
        let folder = own.stop().await?;
        let Some(url) = &self.database else {
            return Ok(());
        };
        if !url.starts_with("sqlite:") {
            let layout = crate::suite::layout::Layout::new(folder.path())?;
            databases::remove(&layout, &url.parse()?).await?;
        }
        Ok(())
    }

    async fn measure(
        &self,
        dir: &Path,
        libsignal_us: f64,
        output: Output,
    ) -> anyhow::Result<Vec<Report>> {
        let suite = Running::open(dir)?;
        ensure!(
            suite.run.numbers.len() >= self.numbers + self.beside.numbers(),
            "this suite has {} numbers, and {} are needed",
            suite.run.numbers.len(),
            self.numbers + self.beside.numbers()
        );
        let (subjects, around) = self.subjects(&suite, libsignal_us)?;
        let run = Run {
            plan: self.plan(&suite)?,
            warm_up: if self.new_sessions {
                Duration::ZERO
            } else {
                Duration::from_secs_f64(self.warm_up)
            },
            seconds: Duration::from_secs_f64(self.seconds),
            subjects,
            output: &output,
        };
        let measured = run.run().await?;
        Ok(Report::of(&measured, &around))
    }

    fn plan(&self, suite: &Running) -> anyhow::Result<Plan> {
        let (run, first_phone) = run::fresh()?;
        let sessions = self.messages.unwrap_or(DEFAULT_SESSIONS);
        Ok(Plan {
            run,
            dir: suite.layout.root().to_owned(),
            link: PathBuf::new(),
            flows: match self.direction {
                Direction::Out => vec![Flow::Out],
                Direction::In => vec![Flow::In],
                Direction::Both => vec![Flow::Out, Flow::In],
            },
            consumers: if self.new_sessions {
                usize::try_from(sessions)?
            } else {
                self.consumers
            },
            numbers: self.numbers,
            size: self.size,
            in_flight: self.in_flight,
            rate: self.rate,
            messages: if self.new_sessions {
                Some(sessions)
            } else {
                self.messages
            },
            new_sessions: self.new_sessions,
            turns: self.turns,
            first_phone,
            counts_refusals: self.on_refusal == OnRefusal::Count,
            then_rate: self.then_rate,
            beside: self.beside,
        })
    }

    /// Whose time is measured, and what does not depend on the run.
    fn subjects(
        &self,
        suite: &Running,
        libsignal_us: f64,
    ) -> anyhow::Result<(Vec<Subject>, Around)> {
        let mut notes = vec![
            "consumers keep their state in memory".to_owned(),
            "the business takes its statuses, as any business does".to_owned(),
        ];
        notes.extend(self.note.clone());
        match self.beside {
            Beside::Nobody => {}
            Beside::Stuck => notes.push(
                "beside: a consumer that never reads, and is written to all the time".to_owned(),
            ),
            Beside::Flood => notes.push(
                "beside: a number that sends as much as it is let, over a connection of its own"
                    .to_owned(),
            ),
        }
        let mut subjects = Vec::new();
        for (name, service) in &suite.run.services {
            let pid = service.running();
            let pid = pid.with_context(|| format!("{name} does not run"))?;
            subjects.push(Subject {
                name: name.clone(),
                kind: Kind::One(pid),
                // It is the business's, and idle here: the bench's own business takes its place.
                is_counted: service.service != Service::Connector.name(),
            });
        }
        let url = suite.database_url(Service::Store)?;
        let is_postgres = !url.starts_with("sqlite:");
        if is_postgres {
            match find_postgres(&url) {
                Some(pid) => subjects.push(Subject {
                    name: "postgres".to_owned(),
                    kind: Kind::Postgres(pid),
                    is_counted: true,
                }),
                None => notes.push(
                    "PostgreSQL's processes were not found on this machine: its time is left out"
                        .to_owned(),
                ),
            }
        }
        let database = if is_postgres { "postgres" } else { "sqlite" };
        let around = Around {
            database: database.to_owned(),
            libsignal_us,
            notes,
        };
        Ok((subjects, around))
    }

    fn tell(&self, reports: &[Report], output: Output) -> anyhow::Result<()> {
        let words: Vec<_> = reports.iter().map(Report::words).collect();
        let value = match reports {
            [one] => serde_json::to_value(one)?,
            several => json!({"runs": several}),
        };
        output.say(&words.join("\n\n"), &value)?;
        ensure!(
            reports.iter().all(Report::is_verified),
            "messages were lost, repeated or out of order"
        );
        Ok(())
    }
}
