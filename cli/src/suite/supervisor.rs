//! Watching over the processes of a running suite, and stopping them in order.

use std::collections::BTreeMap;
use std::process::Child;
use std::time::Duration;

use super::instance::Instance;
use super::layout::Layout;
use super::process;
use super::run_file::RunFile;

use crate::output::Output;

/// How often children are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// The shortest and the longest wait before a restart.
const RESTART_WAIT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// The children of one `sealpost up`. What `sealpost start` started later is nobody's child here; it stands in
/// `run.json` alone, and is stopped with the rest.
pub struct Supervisor<'a> {
    layout: &'a Layout,
    output: Output,
    children: BTreeMap<Instance, Child>,
    restarts: BTreeMap<Instance, Duration>,
}

impl<'a> Supervisor<'a> {
    /// Nothing is watched yet.
    pub fn new(layout: &'a Layout, output: Output) -> Self {
        Self {
            layout,
            output,
            children: BTreeMap::new(),
            restarts: BTreeMap::new(),
        }
    }

    /// Starts an instance. Answers its pid.
    pub fn start(&mut self, instance: &Instance) -> anyhow::Result<u32> {
        let child = process::spawn(self.layout, instance)?;
        let pid = child.id();
        self.children.insert(instance.clone(), child);
        Ok(pid)
    }

    /// Reports children that end, and restarts them when asked to, until `stop` is done.
    pub async fn watch(
        &mut self,
        restart: bool,
        stop: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return Ok(()),
                () = tokio::time::sleep(LOOK) => self.look(restart).await?,
            }
        }
    }

    async fn look(&mut self, restart: bool) -> anyhow::Result<()> {
        let mut ended = Vec::new();
        for (instance, child) in &mut self.children {
            if let Some(status) = child.try_wait()? {
                ended.push((instance.clone(), child.id(), status));
            }
        }
        for (instance, pid, status) in ended {
            self.children.remove(&instance);
            // Somebody stopped or restarted it on purpose when run.json no longer names this process.
            let on_purpose = RunFile::update(&self.layout.run_file(), |run| {
                let entry = run.services.get_mut(&instance.name());
                let ours = entry.filter(|entry| entry.pid == Some(pid));
                Ok(ours.is_none_or(|entry| {
                    entry.pid = None;
                    false
                }))
            })?;
            if on_purpose {
                continue;
            }
            self.output.note(&format!(
                "{instance} (pid {pid}) ended: {status}; the others run on"
            ));
            if restart {
                self.restart(&instance).await?;
            }
        }
        Ok(())
    }

    async fn restart(&mut self, instance: &Instance) -> anyhow::Result<()> {
        let wait = self
            .restarts
            .get(instance)
            .map_or(RESTART_WAIT.0, |wait| (*wait * 2).min(RESTART_WAIT.1));
        self.restarts.insert(instance.clone(), wait);
        tokio::time::sleep(wait).await;
        let pid = self.start(instance)?;
        RunFile::update(&self.layout.run_file(), |run| {
            if let Some(entry) = run.services.get_mut(&instance.name()) {
                entry.pid = Some(pid);
            }
            Ok(())
        })?;
        self.output
            .note(&format!("{instance} started again (pid {pid})"));
        Ok(())
    }

    /// Stops everything that runs, those that call others first.
    pub fn stop_all(&mut self) -> anyhow::Result<()> {
        while let Some((instance, mut child)) = self.children.pop_last() {
            let argv = process::argv(self.layout, &instance)?;
            let by_itself = process::stop(child.id(), &argv)?;
            report(self.output, &instance.name(), by_itself);
            child.wait()?;
        }
        let path = self.layout.run_file();
        if path.exists() {
            RunFile::update(&path, |run| stop_recorded(run, self.output))?;
        }
        Ok(())
    }
}

/// Stops what `run.json` still names as running.
fn stop_recorded(run: &mut RunFile, output: Output) -> anyhow::Result<()> {
    for instance in run.instances().into_iter().rev() {
        let name = instance.name();
        if let Some(entry) = run.services.get_mut(&name)
            && let Some(pid) = entry.pid.take()
        {
            report(output, &name, process::stop(pid, &entry.argv)?);
        }
    }
    Ok(())
}

fn report(output: Output, name: &str, by_itself: bool) {
    if !by_itself {
        output.note(&format!("{name} did not end in time and was killed"));
    }
}
