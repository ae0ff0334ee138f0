//! Watching over the processes of a running suite, and stopping them in order.

use std::collections::BTreeMap;
use std::process::Child;
use std::time::Duration;

use super::layout::Layout;
use super::process;
use super::run_file::RunFile;
use super::service::Service;
use crate::output::Output;

/// How often children are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// The shortest and the longest wait before a restart.
const RESTART_WAIT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// The children of one `sealpost up`. Services that `sealpost start` started later are nobody's children here; they stand in
/// `run.json` alone, and are stopped with the rest.
pub struct Supervisor<'a> {
    layout: &'a Layout,
    output: Output,
    children: BTreeMap<Service, Child>,
    restarts: BTreeMap<Service, Duration>,
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

    /// Starts a service. Answers its pid.
    pub fn start(&mut self, service: Service) -> anyhow::Result<u32> {
        let child = process::spawn(self.layout, service)?;
        let pid = child.id();
        self.children.insert(service, child);
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
        for (service, child) in &mut self.children {
            if let Some(status) = child.try_wait()? {
                ended.push((*service, child.id(), status));
            }
        }
        for (service, pid, status) in ended {
            self.children.remove(&service);
            // Somebody stopped or restarted it on purpose when run.json no longer names this process.
            let on_purpose = RunFile::update(&self.layout.run_file(), |run| {
                let entry = run.services.get_mut(service.name());
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
                "{service} (pid {pid}) ended: {status}; the others run on"
            ));
            if restart {
                self.restart(service).await?;
            }
        }
        Ok(())
    }

    async fn restart(&mut self, service: Service) -> anyhow::Result<()> {
        let wait = self
            .restarts
            .get(&service)
            .map_or(RESTART_WAIT.0, |wait| (*wait * 2).min(RESTART_WAIT.1));
        self.restarts.insert(service, wait);
        tokio::time::sleep(wait).await;
        let pid = self.start(service)?;
        RunFile::update(&self.layout.run_file(), |run| {
            if let Some(entry) = run.services.get_mut(service.name()) {
                entry.pid = Some(pid);
            }
            Ok(())
        })?;
        self.output
            .note(&format!("{service} started again (pid {pid})"));
        Ok(())
    }

    /// Stops every service of the suite, those that call others first.
    pub fn stop_all(&mut self) -> anyhow::Result<()> {
        for service in Service::ALL.into_iter().rev() {
            if let Some(mut child) = self.children.remove(&service) {
                let argv = process::argv(self.layout, service)?;
                report(self.output, service, process::stop(child.id(), &argv)?);
                child.wait()?;
            }
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
    for service in Service::ALL.into_iter().rev() {
        if let Some(entry) = run.services.get_mut(service.name())
            && let Some(pid) = entry.pid.take()
        {
            report(output, service, process::stop(pid, &entry.argv)?);
        }
    }
    Ok(())
}

fn report(output: Output, service: Service, by_itself: bool) {
    if !by_itself {
        output.note(&format!("{service} did not end in time and was killed"));
    }
}
