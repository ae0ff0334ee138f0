//! The suite's processes as the system sees them: whether one runs still, and signals to it.

use std::fs;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

/// Whether `pid` is alive and was started as `argv`.
pub(crate) fn runs_as(pid: u32, argv: &[String]) -> bool {
    let Ok(cmdline) = fs::read(format!("/proc/{pid}/cmdline")) else {
        return false;
    };
    if cmdline.is_empty() {
        // On its way out it gives up its memory first, and may still hold its ports.
        return !is_gone(pid);
    }
    let words = cmdline
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty());
    words.eq(argv.iter().map(String::as_bytes))
}

/// Whether nothing is left of a process but its number: every thread has ended, and with the last one its files were closed.
fn is_gone(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return true;
    };
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    threads.count() <= 1 && (state.is_empty() || state.starts_with(['Z', 'X']))
}

/// Sends a signal to a process.
///
/// # Errors
/// When it is gone.
pub(crate) fn signal(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let id = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .context("not a pid")?;
    Ok(kill_process(id, signal)?)
}
