//! `sealpost admin clock`: moves the clock of a development suite. Its file holds the seconds to add; services read it anew
//! each second.

use std::path::Path;

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use serde_json::json;

use super::access::Access;
use super::vault;
use crate::duration;
use crate::files::{self, Readers};
use crate::output::Output;
use crate::running::Running;
use crate::suite::service::Service;

#[derive(Subcommand)]
pub enum ClockCommand {
    /// Move every service's clock by a duration such as 31d
    Advance {
        /// How far: 90s, 15m, 2h, 31d
        #[arg(value_parser = duration::parse_signed, allow_hyphen_values = true)]
        by: i64,
        #[command(flatten)]
        how: How,
    },
    /// Set how far every service's clock is ahead of this machine's
    Set {
        /// How far: 0, 90s, 15m, 2h, 31d
        #[arg(value_parser = duration::parse_signed, allow_hyphen_values = true)]
        ahead: i64,
        #[command(flatten)]
        how: How,
    },
    /// Show how far the services' clocks are ahead
    Show,
}

#[derive(Args)]
pub struct How {
    /// Let time go back: the key vault keeps the latest time it has seen, so nothing can be sent until that time comes again
    #[arg(long)]
    back: bool,
    /// Leave it to `sealpost admin vault confirm-clock` to tell the key vault that the jump is right
    #[arg(long)]
    no_confirm: bool,
}

impl ClockCommand {
    /// Does it; when it answers, every running service has the new time.
    pub async fn run(self, access: &Access, output: Output) -> anyhow::Result<()> {
        let suite = access.need_suite("the clock file")?;
        ensure!(
            suite.follows_clock_file()?,
            "this suite's clocks do not follow a file: start it with `sealpost up --clock-file`"
        );
        let file = suite.layout.clock_file();
        match self {
            Self::Show => show(output, read(&file)?),
            Self::Set { ahead, how } => change(access, suite, output, &file, ahead, &how).await,
            Self::Advance { by, how } => {
                let ahead = read(&file)?
                    .checked_add(by)
                    .context("that is further than a clock goes")?;
                change(access, suite, output, &file, ahead, &how).await
            }
        }
    }
}

async fn change(
    access: &Access,
    suite: &Running,
    output: Output,
    file: &Path,
    ahead: i64,
    how: &How,
) -> anyhow::Result<()> {
    // An unreadable file may be mended; a readable one says where time is.
    ensure!(
        how.back || read(file).map_or(true, |now| ahead >= now),
        "that would turn time back, which the key vault does not follow: start a new suite, or add --back"
    );
    files::write(file, format!("{ahead}\n").as_bytes(), Readers::Owner)
        .with_context(|| format!("{} cannot be written", file.display()))?;
    vault::clock_file_is_read().await;
    let vault_runs = suite
        .run
        .instance_of(Service::KeyVault)?
        .running()
        .is_some();
    if !how.no_confirm && vault_runs {
        vault::confirm_clock(access).await?;
    }
    show(output, ahead)
}

fn read(file: &Path) -> anyhow::Result<i64> {
    match std::fs::read_to_string(file) {
        Ok(text) => parse(&text).with_context(|| {
            format!(
                "{} must hold a whole number of seconds: `sealpost admin clock set 0` mends it",
                file.display()
            )
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", file.display())),
    }
}

fn parse(text: &str) -> anyhow::Result<i64> {
    Ok(text.trim().parse()?)
}

fn show(output: Output, ahead: i64) -> anyhow::Result<()> {
    output.say(
        &format!(
            "the services' clocks are {} ahead ({ahead} s)",
            duration::show_signed(ahead)
        ),
        &json!({"ahead_seconds": ahead}),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_clock_file_holds_whole_seconds_and_a_missing_one_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clock");
        assert_eq!(read(&file).unwrap(), 0);
        std::fs::write(&file, "-86400\n").unwrap();
        assert_eq!(read(&file).unwrap(), -86_400);
        std::fs::write(&file, "soon").unwrap();
        assert!(read(&file).unwrap_err().to_string().contains("clock set 0"));
    }
}
