//! What a test does to the surroundings of a running suite: its wires, its clock, its processes' share of time, its disks.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use rustix::process::Signal;
use sealpost_runtime::Clock;

use crate::Suite;
use crate::process::signal;

impl Suite {
    /// The clock that the suite goes by.
    #[must_use]
    pub fn clock(&self) -> Clock {
        // Where there is no such file nothing is added.
        Clock::with_offset_file(self.dir().join("clock"))
    }

    /// Lets `service` reach its peer at `from` by way of `to` (both `host:port`) from its next start on.
    ///
    /// # Errors
    /// When its configuration does not name that peer.
    pub fn reroute(&self, service: &str, from: &str, to: &str) -> anyhow::Result<()> {
        let path = &self.facts().service(service)?.config;
        let config = fs::read_to_string(path)?;
        let quoted = |address| format!("\"{address}\"");
        let changed = config.replace(&quoted(from), &quoted(to));
        ensure!(changed != config, "{service} does not name {from}");
        Ok(fs::write(path, changed)?)
    }

    /// Lets a service's process stand still until the answer is dropped: it keeps its ports and says nothing.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self, service: &str) -> anyhow::Result<Frozen> {
        let pid = self.pid(service)?;
        signal(pid, Signal::STOP)?;
        Ok(Frozen(pid))
    }

    /// A service's memory that is really there, in bytes.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resident(&self, service: &str) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid(service)?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next());
        let kilobytes: u64 = kilobytes.context("VmRSS")?.parse()?;
        Ok(kilobytes * 1024)
    }

    /// Moves a stopped service's folder onto a file system of its own, `megabytes` large. `None`: this system lets us mount none.
    ///
    /// # Errors
    /// When the folder cannot be copied.
    pub fn small_disk(&self, service: &str, megabytes: u32) -> anyhow::Result<Option<SmallDisk>> {
        let folder = self.facts().service(service)?.data.clone();
        let aside = folder.with_extension("aside");
        fs::rename(&folder, &aside)?;
        fs::create_dir(&folder)?;
        let size = format!("size={megabytes}m,mode=700");
        let mounted = run("mount", &["-t", "tmpfs", "-o", &size, "sealpost"], &folder);
        if mounted.is_err() {
            fs::remove_dir(&folder)?;
            fs::rename(&aside, &folder)?;
            return Ok(None);
        }
        let disk = SmallDisk { folder };
        run(
            "cp",
            &["-a", &format!("{}/.", aside.display())],
            &disk.folder,
        )?;
        fs::remove_dir_all(aside)?;
        Ok(Some(disk))
    }

    fn pid(&self, service: &str) -> anyhow::Result<u32> {
        let pid = self.run_file()?.service(service)?.pid;
        pid.with_context(|| format!("{service} does not run"))
    }
}

/// A process that stands still until this is dropped.
pub struct Frozen(u32);

impl Drop for Frozen {
    fn drop(&mut self) {
        // Gone is as good.
        let _ = signal(self.0, Signal::CONT);
    }
}

/// A small file system under a service's folder. Dropped, it is unmounted as soon as nobody uses it.
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Takes all the room that is left.
    ///
    /// # Errors
    /// When there is another trouble than no room.
    pub fn fill(&self) -> anyhow::Result<()> {
        let mut file = File::create(self.filler())?;
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        Ok(())
    }

    /// Gives the room back.
    ///
    /// # Errors
    /// When it was not taken.
    pub fn free(&self) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.filler())?)
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = run("umount", &["-l"], &self.folder);
    }
}

fn run(program: &str, arguments: &[&str], folder: &Path) -> anyhow::Result<()> {
    let output = Command::new(program).args(arguments).arg(folder).output()?;
    ensure!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
