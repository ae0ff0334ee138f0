//! Starting an instance's process and telling whether it still runs.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::instance::Instance;
use super::layout::Layout;
use super::service::Service;

/// How long a process may take to end after SIGTERM before it is killed.
const STOP_TIME: Duration = Duration::from_secs(20);

/// The command that starts an instance.
pub fn argv(layout: &Layout, instance: &Instance) -> anyhow::Result<Vec<String>> {
    let program = binary(instance.service())?;
    let config = layout.config(instance);
    Ok(vec![
        program.display().to_string(),
        "--config".to_owned(),
        config.display().to_string(),
    ])
}

/// A service's binary: in the folder of this one.
pub fn binary(service: Service) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("the path of this program")?;
    let program = own.with_file_name(service.binary());
    if !program.is_file() {
        bail!(
            "{} is not beside {}: build it with `cargo build --bins`",
            service.binary(),
            own.display()
        );
    }
    Ok(program)
}

/// Starts an instance. Its output is appended to its log; it is in a process group of its own, so that Ctrl-C reaches
/// only whoever started it, which then stops the services in order.
pub fn spawn(layout: &Layout, instance: &Instance) -> anyhow::Result<Child> {
    use std::os::unix::process::CommandExt;

    let argv = argv(layout, instance)?;
    let path = layout.log(instance);
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    Command::new(&argv[0])
        .args(&argv[1..])
        .current_dir(layout.root())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .with_context(|| format!("{instance} cannot be started"))
}

/// Whether `pid` is alive and was started as `argv`: a pid that the kernel gave to somebody else does not count.
pub fn runs_as(pid: u32, argv: &[String]) -> bool {
    let Ok(cmdline) = std::fs::read(format!("/proc/{pid}/cmdline")) else {
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
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return true;
    };
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    threads.count() <= 1 && (state.is_empty() || state.starts_with(['Z', 'X']))
}

/// Ends a process: SIGTERM, and SIGKILL when it does not end in time. Answers whether it ended by itself.
pub fn stop(pid: u32, argv: &[String]) -> anyhow::Result<bool> {
    if !runs_as(pid, argv) {
        return Ok(true);
    }
    let id = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .context("not a pid")?;
    kill_process(id, Signal::TERM)?;
    let start = Instant::now();
    while start.elapsed() < STOP_TIME {
        if !runs_as(pid, argv) {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    kill_process(id, Signal::KILL)?;
    Ok(false)
}
