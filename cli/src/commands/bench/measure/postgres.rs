//! A PostgreSQL server's processes, when it runs on this machine: the first, which listens, and those that it starts.

use std::fs;

use super::proc::{self, Reading};

const PROGRAM: &str = "postgres";
const DEFAULT_PORT: u16 = 5432;

/// The first process of the server that a URL names; none when it is not of this machine, or hidden from this user.
pub fn find(url: &str) -> Option<u32> {
    let port = local_port(url)?;
    let firsts = proc::all().into_iter().filter(|pid| is_first(*pid));
    firsts
        .into_iter()
        .find(|pid| listens_on(*pid) == Some(port))
}

/// All of the server together. Backends come and go: the time of those that have gone is the first one's to tell.
pub fn reading(first: u32) -> Option<Reading> {
    let own = Reading::of(first)?;
    let mut sum = Reading {
        ticks: own.ticks + own.children_ticks,
        ..own
    };
    for pid in proc::all() {
        let is_child = proc::stat(pid).is_some_and(|stat| stat.parent == first);
        if !is_child {
            continue;
        }
        if let Some(child) = Reading::of(pid) {
            sum.ticks += child.ticks;
            // Most of it is shared: the largest says more than the sum.
            sum.peak_kb = sum.peak_kb.max(child.peak_kb);
            sum.written = sum.written.zip(child.written).map(|(one, more)| one + more);
        }
    }
    Some(sum)
}

fn is_first(pid: u32) -> bool {
    let is_server = |pid| proc::program(pid).as_deref() == Some(PROGRAM);
    is_server(pid) && proc::stat(pid).is_some_and(|stat| !is_server(stat.parent))
}

/// A server works in its data folder, where `postmaster.pid` has its port in the fourth line.
fn listens_on(pid: u32) -> Option<u16> {
    let file = fs::read_to_string(format!("/proc/{pid}/cwd/postmaster.pid")).ok()?;
    file.lines().nth(3)?.trim().parse().ok()
}

fn local_port(url: &str) -> Option<u16> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    let place = authority.rsplit('@').next()?;
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (place, DEFAULT_PORT),
    };
    matches!(host, "" | "localhost" | "127.0.0.1" | "[::1]").then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_of_this_machine_is_looked_for() {
        for (url, port) in [
            ("postgres://localhost/x", Some(5432)),
            ("postgres://a:p%40@127.0.0.1:5433/x?a=b", Some(5433)),
            ("postgresql://[::1]:7/x", Some(7)),
            ("postgres://[::1]/x", Some(5432)),
            ("postgres://db.example:5432/x", None),
            ("sqlite", None),
        ] {
            assert_eq!(local_port(url), port, "{url}");
        }
    }
}
