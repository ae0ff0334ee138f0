//! `sealpost demo`: boots a suite, sends a message through every process of it and its answer back, says what each process
//! could see, and looks for what nobody may keep. Fails when anything is missing or anything is found.

mod conversation;
mod device;
mod observer;
mod receiver;
mod report;
mod scan;
mod sizes;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Args;
use sealpost_runtime::{process, shutdown};

use self::conversation::Cast;
use self::receiver::{Hooks, Receiver};
use self::report::Report;
use self::scan::Scan;
use crate::files;
use crate::output::Output;
use crate::suite::configs::Choices;
use crate::suite::facts::Facts;
use crate::suite::layout::Layout;
use crate::suite::roster::Roster;
use crate::suite::run_file::RunFile;
use crate::suite::supervisor::Supervisor;
use crate::suite::up::{self, Size};

const EXAMPLES: &str = "Examples:
  sealpost demo
  sealpost demo --dir my-demo --keep      and then: sealpost send --dir my-demo …";

/// Show a message travel end to end through a suite made for it, its answer come back, and what each process saw
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Demo {
    /// Folder of the suite
    #[arg(long, default_value = "sealpost-demo")]
    dir: PathBuf,
    /// Leave the suite running until Ctrl-C
    #[arg(long)]
    keep: bool,
}

impl Demo {
    /// Boots, shows, stops.
    pub async fn run(self, output: Output) -> anyhow::Result<()> {
        process::harden()?;
        let layout = Layout::new(&self.dir)?;
        files::create_folder(layout.root())?;
        let facts = Facts::load_or_start(&layout.facts_file())?;
        let (receiver, hooks) = Receiver::start(facts.verify_token, facts.app_secret).await?;
        let stop = shutdown::on_signals()?;
        let mut supervisor = Supervisor::new(&layout, output);

        let told = tokio::select! {
            told = tell(&layout, &receiver, hooks, &mut supervisor, output) => told,
            () = stop.cancelled() => Err(anyhow::anyhow!("stopped before the end")),
        };
        let ended = match told {
            Ok((report, scan)) if self.keep => {
                report.print(output)?;
                output.note(&format!(
                    "the suite runs on in {}; Ctrl-C stops it",
                    layout.root().display()
                ));
                let ran = supervisor.watch(false, stop.cancelled()).await;
                supervisor.stop_all()?;
                ran.map(|()| (report, scan))
            }
            told => {
                output.note("stopping");
                supervisor.stop_all()?;
                told
            }
        };
        let (mut report, scan) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                output.say("", &report::failure(&error))?;
                return Err(error);
            }
        };
        // Once more, with every log and journal as the processes left it.
        report.at_rest(scan.run(&layout)?);
        if !self.keep {
            report.print(output)?;
        }
        ensure!(
            report.is_good(),
            "the demo failed: {}",
            report.failures().join("; ")
        );
        Ok(())
    }
}

/// Everything while the suite runs.
async fn tell(
    layout: &Layout,
    receiver: &Receiver,
    hooks: Hooks,
    supervisor: &mut Supervisor<'_>,
    output: Output,
) -> anyhow::Result<(Report, Scan)> {
    let choices = Choices {
        rate_limit: 0,
        webhook: Some(receiver.url()),
        clock_file: false,
        database: None,
        require_synchronous_standby: false,
    };
    let size = Size {
        roster: Roster {
            regions: Vec::new(),
            replicas: 1,
        },
        numbers: 1,
        consumers: 1,
    };
    let begun = Instant::now();
    let run = up::up(layout, &size, &choices, supervisor, output).await?;
    let booted = begun.elapsed();
    output.note("every process serves; the messages leave");
    let mut cast = Cast::gather(layout, &run, hooks).await?;
    let played = conversation::play(&mut cast, output).await;
    let device_pid = cast.device.pid();
    cast.device.leave().await?;
    let played = played?;

    let first = played.rounds.first().context("nothing was played")?;
    let (header, body) = (&first.answer_sealed.header, &first.answer_sealed.body);

    let scan = Scan::new(&run.consumers[0].phone_number, &played.contents());
    let mut found = scan.run(layout)?;
    found.absorb(scan.metrics(&run).await?);
    // The header names the consumer to the gateway; the content must not show in either part.
    scan.look(
        "the gateway's events",
        &[&header[..], body].concat(),
        false,
        &mut found,
    );
    let report = Report::new(
        booted,
        processes(&run, device_pid)?,
        first.message_sizes,
        (header.len(), body.len()),
        &played,
        receiver,
        found,
    );
    Ok((report, scan))
}

/// Names and pids of everybody who took part.
fn processes(run: &RunFile, device: u32) -> anyhow::Result<Vec<(String, u32)>> {
    let mut processes = Vec::new();
    for name in [
        "connector",
        "gateway",
        "directory",
        "key-vault",
        "store",
        "relay",
        "retention",
    ] {
        let pid = run.service(name)?.pid;
        let pid = pid.ok_or_else(|| anyhow::anyhow!("{name} ended during the demo"))?;
        processes.push((name.to_owned(), pid));
    }
    processes.push(("consumer".to_owned(), device));
    Ok(processes)
}
