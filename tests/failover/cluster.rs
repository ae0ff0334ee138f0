//! Three PostgreSQL under Patroni with etcd and HAProxy on loopback, from the samples of `deploy/patroni`, as an unprivileged
//! user.
//!
//! Invariant: whatever was started ends with this process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::time::sleep;

use crate::preparing::{Prepared, Ready, show, start};

/// How long the members may take to agree on who is what.
const AGREE: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(100);
/// The operator whom the suite makes its databases as.
const OPERATOR: (&str, &str) = ("sealpost", "change-me-operator");

/// A running cluster.
pub struct Cluster {
    folder: PathBuf,
    client: reqwest::Client,
    members: Vec<Member>,
    others: Vec<Child>,
    /// Where HAProxy sends connections to the primary.
    port: u16,
}

struct Member {
    ready: Ready,
    patroni: Child,
}

/// What one member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    pub name: String,
    pub role: String,
    pub state: String,
}

impl Cluster {
    /// Makes and starts everything in `folder`, and waits until there is a primary with a synchronous standby and one more.
    pub async fn up(folder: &Path) -> anyhow::Result<Self> {
        let prepared = Prepared::new(folder)?;
        let words = ["etcd", "--config-file", &show(&prepared.etcd)].map(str::to_owned);
        let mut others = vec![start(folder, "etcd", &words)?];
        let mut members = Vec::new();
        for ready in prepared.members {
            let patroni = patroni(folder, &ready)?;
            members.push(Member { ready, patroni });
        }
        let config = show(&prepared.haproxy);
        others.push(start(
            folder,
            "haproxy",
            &["/usr/sbin/haproxy", "-db", "-f", &config].map(str::to_owned),
        )?);
        let cluster = Self {
            folder: folder.to_owned(),
            client: reqwest::Client::builder()
                .timeout(Duration::from_secs(2))
                .build()?,
            members,
            others,
            port: prepared.port,
        };
        cluster.until_whole().await?;
        cluster.make_operator(&prepared.bin).await?;
        Ok(cluster)
    }

    /// Where the suite's databases are made.
    pub fn url(&self) -> String {
        let (user, password) = OPERATOR;
        format!(
            "postgres://{user}:{password}@127.0.0.1:{}/postgres?sslmode=verify-full&sslrootcert={}",
            self.port,
            self.folder.join("pki/ca.pem").display()
        )
    }

    /// Who is what, as the first member that answers says.
    pub async fn roles(&self) -> anyhow::Result<Vec<Role>> {
        for member in &self.members {
            let url = format!("http://127.0.0.1:{}/cluster", member.ready.rest);
            let Ok(answer) = self.client.get(url).send().await else {
                continue;
            };
            let answer: Value = serde_json::from_slice(&answer.bytes().await?)?;
            let members = answer["members"].as_array().context("no members")?;
            let word =
                |member: &Value, key: &str| member[key].as_str().unwrap_or_default().to_owned();
            return Ok(members
                .iter()
                .map(|member| Role {
                    name: word(member, "name"),
                    role: word(member, "role"),
                    state: word(member, "state"),
                })
                .collect());
        }
        bail!("no member answers")
    }

    /// Waits until there is a primary, a synchronous standby and one more, all running.
    pub async fn until_whole(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let roles = self.roles().await.unwrap_or_default();
            let has = |wanted: &str| roles.iter().any(|one| one.role == wanted);
            let runs = |one: &&Role| ["running", "streaming"].contains(&one.state.as_str());
            if has("leader")
                && has("sync_standby")
                && roles.iter().filter(runs).count() == self.members.len()
            {
                return Ok(());
            }
            ensure!(
                begun.elapsed() < AGREE,
                "the members do not agree: {roles:?}"
            );
            sleep(LOOK).await;
        }
    }

    /// The member that serves as the primary now: it says so itself, as HAProxy asks.
    pub async fn primary(&self) -> Option<usize> {
        for (index, member) in self.members.iter().enumerate() {
            let url = format!("http://127.0.0.1:{}/primary", member.ready.rest);
            let answer = self.client.get(url).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Some(index);
            }
        }
        None
    }

    /// Waits until another member than `old` is the primary. Answers which.
    pub async fn until_replaced(&self, old: usize) -> anyhow::Result<usize> {
        let begun = Instant::now();
        loop {
            match self.primary().await {
                Some(new) if new != old => return Ok(new),
                _ => ensure!(begun.elapsed() < AGREE, "nobody took over"),
            }
            sleep(LOOK).await;
        }
    }

    /// A member's name.
    pub fn name(&self, index: usize) -> &str {
        &self.members[index].ready.name
    }

    /// Kills every process of a member's PostgreSQL at once.
    pub fn crash(&self, index: usize) -> anyhow::Result<()> {
        send(self.members[index].postgres()?, Signal::KILL)
    }

    /// Kills a member's Patroni and every process of its PostgreSQL at once, as a power cut would.
    pub fn kill(&mut self, index: usize) -> anyhow::Result<()> {
        self.signal(index, Signal::KILL)?;
        self.members[index].patroni.wait()?;
        Ok(())
    }

    /// Starts a killed member again.
    pub fn start(&mut self, index: usize) -> anyhow::Result<()> {
        let member = &mut self.members[index];
        member.patroni = patroni(&self.folder, &member.ready)?;
        Ok(())
    }

    /// Stops a member in mid-step, or lets it go on.
    pub fn signal(&self, index: usize, signal: Signal) -> anyhow::Result<()> {
        let member = &self.members[index];
        // Patroni first: it would start PostgreSQL again.
        let mut pids = vec![member.patroni.id()];
        pids.extend(member.postgres()?);
        send(pids, signal)
    }

    async fn make_operator(&self, bin: &Path) -> anyhow::Result<()> {
        let (user, password) = OPERATOR;
        let sql = format!("CREATE ROLE {user} LOGIN CREATEDB CREATEROLE PASSWORD '{password}'");
        let place = format!(
            "host=127.0.0.1 port={} dbname=postgres user=postgres password=change-me-superuser sslmode=require",
            self.port
        );
        let begun = Instant::now();
        loop {
            // HAProxy takes a few seconds to believe in a primary.
            let made = Command::new(bin.join("psql"))
                .args([&place, "-qc", &sql])
                .output()?;
            if made.status.success() {
                return Ok(());
            }
            let said = String::from_utf8_lossy(&made.stderr).into_owned();
            ensure!(
                begun.elapsed() < AGREE,
                "no connection through HAProxy: {said}"
            );
            sleep(LOOK).await;
        }
    }
}

impl Member {
    /// The postmaster and its children.
    fn postgres(&self) -> anyhow::Result<Vec<u32>> {
        let file = fs::read_to_string(self.ready.data.join("postmaster.pid"))?;
        let postmaster: u32 = file.lines().next().context("a pid")?.trim().parse()?;
        let mut pids = vec![postmaster];
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            if parent_of(pid) == Some(postmaster) {
                pids.push(pid);
            }
        }
        Ok(pids)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for index in 0..self.members.len() {
            // It may be dead already.
            let _ = self.signal(index, Signal::KILL);
        }
        for child in &mut self.others {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn send(pids: Vec<u32>, signal: Signal) -> anyhow::Result<()> {
    for pid in pids {
        let id = i32::try_from(pid).ok().and_then(Pid::from_raw);
        kill_process(id.context("not a pid")?, signal)?;
    }
    Ok(())
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.rsplit(')').next()?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

fn patroni(folder: &Path, ready: &Ready) -> anyhow::Result<Child> {
    let words = ["patroni".to_owned(), show(&ready.config)];
    start(folder, &ready.name, &words)
}
