//! `sealpost admin status`: every instance's process and health.

use std::fmt;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::access::Access;
use crate::duration;
use crate::output::Output;
use crate::running::Running;
use crate::suite::instance::Instance;
use crate::suite::service::Service;
use crate::table::table;

/// A service that does not answer for so long counts as unreachable.
const PATIENCE: Duration = Duration::from_secs(3);

/// Show the health of every process; ends with an error when one does not serve
#[derive(Args)]
pub struct Status {}

/// How a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    /// It answers that it serves.
    Serving,
    /// It answers that it does not.
    NotServing,
    /// It does not answer.
    Unreachable,
    /// Its process does not run.
    Stopped,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Serving => "serving",
            Self::NotServing => "not_serving",
            Self::Unreachable => "unreachable",
            Self::Stopped => "stopped",
        })
    }
}

struct Line {
    instance: Instance,
    health: Health,
    process: Option<Process>,
    address: String,
}

struct Process {
    pid: u32,
    uptime: Option<Duration>,
}

impl Status {
    /// Asks one after the other.
    pub async fn run(self, access: &Access, output: Output) -> anyhow::Result<()> {
        let mut lines = Vec::new();
        for (instance, address) in access.known_instances()? {
            lines.push(look(access, instance, address).await?);
        }
        ensure!(
            !lines.is_empty(),
            "name the services to look at: --address NAME=HOST:PORT"
        );
        let rows: Vec<_> = lines.iter().map(Line::row).collect();
        let all: Vec<_> = lines.iter().map(Line::json).collect();
        output.say(
            &table(["service", "health", "pid", "uptime", "address"], &rows),
            &json!({"services": all}),
        )?;
        let down = lines
            .iter()
            .filter(|line| line.health != Health::Serving)
            .count();
        ensure!(
            down == 0,
            "{down} of {} processes do not serve: read their logs, start them with `sealpost start NAME`",
            lines.len()
        );
        Ok(())
    }
}

async fn look(access: &Access, instance: Instance, address: String) -> anyhow::Result<Line> {
    let process = match access.suite() {
        Some(suite) => process_of(suite, &instance)?,
        None => None,
    };
    let health = if access.suite().is_some() && process.is_none() {
        Health::Stopped
    } else {
        ask(access, instance.service(), &address).await?
    };
    Ok(Line {
        instance,
        health,
        process,
        address,
    })
}

async fn ask(access: &Access, service: Service, address: &str) -> anyhow::Result<Health> {
    let Some(role) = service.role() else {
        // The connector has no gRPC face: that it listens is all that can be asked for.
        let listens = timeout(PATIENCE, TcpStream::connect(address)).await;
        return Ok(match listens {
            Ok(Ok(_)) => Health::Serving,
            _ => Health::Unreachable,
        });
    };
    let mut client = HealthClient::new(access.operator.channel(address, role)?);
    let check = client.check(HealthCheckRequest {
        service: String::new(),
    });
    Ok(match timeout(PATIENCE, check).await {
        Ok(Ok(answer)) if answer.get_ref().status() == ServingStatus::Serving => Health::Serving,
        Ok(Ok(_)) => Health::NotServing,
        _ => Health::Unreachable,
    })
}

/// Its process, when it runs.
fn process_of(suite: &Running, instance: &Instance) -> anyhow::Result<Option<Process>> {
    let entry = suite.run.service(&instance.name())?;
    Ok(entry.running().map(|pid| Process {
        pid,
        uptime: uptime(pid),
    }))
}

/// How long a process has run, by the kernel's book (proc_pid_stat(5), field 22).
fn uptime(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let since_boot = std::fs::read_to_string("/proc/uptime").ok()?;
    let ticks = rustix::param::clock_ticks_per_second();
    uptime_from(&stat, &since_boot, ticks)
}

fn uptime_from(stat: &str, since_boot: &str, ticks_per_second: u64) -> Option<Duration> {
    // The second field is the program's name in parentheses, which may hold anything; field 3 comes after the last one.
    let started: u64 = stat
        .rsplit(')')
        .next()?
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()?;
    let now: f64 = since_boot.split_whitespace().next()?.parse().ok()?;
    let started = Duration::from_millis(started * 1_000 / ticks_per_second);
    Some(
        Duration::try_from_secs_f64(now)
            .ok()?
            .saturating_sub(started),
    )
}

impl Line {
    fn row(&self) -> [String; 5] {
        let none = || "-".to_owned();
        let process = self.process.as_ref();
        [
            self.instance.to_string(),
            self.health.to_string(),
            process.map_or_else(none, |process| process.pid.to_string()),
            process
                .and_then(|process| process.uptime)
                .map_or_else(none, duration::show),
            self.address.clone(),
        ]
    }

    fn json(&self) -> Value {
        let process = self.process.as_ref();
        json!({
            "service": self.instance.name(),
            "health": self.health.to_string(),
            "pid": process.map(|process| process.pid),
            "uptime_seconds": process.and_then(|process| process.uptime).map(|uptime| uptime.as_secs()),
            "address": self.address,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_is_read_past_a_program_name_with_parentheses() {
        let stat = "42 (a) b) S 1 42 42 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 12345 0 0";
        assert_eq!(
            uptime_from(stat, "200.5 10.0\n", 100),
            Some(Duration::from_millis(200_500 - 123_450))
        );
        assert_eq!(uptime_from("42 (a) S", "200.5", 100), None);
    }

    #[test]
    fn this_process_has_an_uptime() {
        assert!(uptime(std::process::id()).is_some());
    }
}
