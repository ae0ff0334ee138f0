//! What a cluster needs before it starts: the samples of `deploy/patroni`, a certificate, ports, and an unprivileged user.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use rustix::process::getuid;
use sealpost_tests::binaries;

const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/patroni");
const MEMBERS: usize = 3;
/// Who runs PostgreSQL when root runs this: it refuses to be root.
const USER: &str = "postgres";

/// Everything a cluster is started from.
pub struct Prepared {
    /// Where PostgreSQL's programs are.
    pub bin: PathBuf,
    /// The configuration of etcd.
    pub etcd: PathBuf,
    /// The configuration of HAProxy.
    pub haproxy: PathBuf,
    /// Where HAProxy sends connections to the primary.
    pub port: u16,
    pub members: Vec<Ready>,
}

/// A member before it is started.
pub struct Ready {
    pub name: String,
    /// The port of its Patroni.
    pub rest: u16,
    /// The folder of its PostgreSQL.
    pub data: PathBuf,
    /// The configuration of its Patroni.
    pub config: PathBuf,
}

/// Ports that nobody has, all different.
struct Ports(Vec<TcpListener>);

impl Ports {
    fn one(&mut self) -> anyhow::Result<u16> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        self.0.push(listener);
        Ok(port)
    }
}

impl Prepared {
    /// Writes every configuration into `folder`, from the samples, and gives the folder to whom PostgreSQL runs as.
    pub fn new(folder: &Path) -> anyhow::Result<Self> {
        let bin = postgres_binaries()?;
        let mut ports = Ports(Vec::new());
        let (etcd, peers, port) = (ports.one()?, ports.one()?, ports.one()?);
        let mut addresses = Vec::new();
        for _ in 0..MEMBERS {
            addresses.push((ports.one()?, ports.one()?));
        }
        drop(ports);
        certificate(folder)?;

        let etcd_config = folder.join("etcd.yml");
        let text = sample("etcd.yml")?
            .replace("/var/lib/etcd/sealpost", &show(&folder.join("etcd")))
            .replace("10.0.0.21:2379", &format!("127.0.0.1:{etcd}"))
            .replace("10.0.0.21:2380", &format!("127.0.0.1:{peers}"))
            .replace(
                ",etcd2=http://10.0.0.22:2380,etcd3=http://10.0.0.23:2380",
                "",
            );
        fs::write(&etcd_config, text)?;
        let mut haproxy =
            sample("haproxy.cfg")?.replace("10.0.0.10:5432", &format!("127.0.0.1:{port}"));
        let mut members = Vec::new();
        for (index, (sql, rest)) in addresses.iter().enumerate() {
            let host = format!("10.0.0.{}", 11 + index);
            let name = format!("pg{}", index + 1);
            haproxy = haproxy
                .replace(&format!("{host}:5432"), &format!("127.0.0.1:{sql}"))
                .replace(
                    &format!("{host} port 8008"),
                    &format!("127.0.0.1 port {rest}"),
                );
            let data = folder.join(&name);
            let text = sample("patroni.yml")?
                .replace("name: pg1", &format!("name: {name}"))
                .replace(
                    "10.0.0.21:2379,10.0.0.22:2379,10.0.0.23:2379",
                    &format!("127.0.0.1:{etcd}"),
                )
                .replace("10.0.0.11:8008", &format!("127.0.0.1:{rest}"))
                .replace("10.0.0.11:5432", &format!("127.0.0.1:{sql}"))
                .replace("10.0.0.0/24", "127.0.0.1/32")
                .replace("/var/lib/postgresql/sealpost", &show(&data))
                .replace(
                    "/var/lib/postgresql/patroni.pgpass",
                    &show(&folder.join(format!("{name}.pgpass"))),
                )
                .replace("/usr/lib/postgresql/15/bin", &show(&bin))
                .replace("/var/run/postgresql", &show(folder))
                .replace(
                    "/etc/sealpost/postgresql",
                    &show(&folder.join("certificate")),
                );
            let config = folder.join(format!("{name}.yml"));
            fs::write(&config, text)?;
            members.push(Ready {
                name,
                rest: *rest,
                data,
                config,
            });
        }
        let haproxy_config = folder.join("haproxy.cfg");
        fs::write(&haproxy_config, haproxy)?;
        if getuid().is_root() {
            let status = Command::new("chown")
                .args(["-R", USER])
                .arg(folder)
                .status()?;
            ensure!(status.success(), "there is no user {USER}");
        }
        Ok(Self {
            bin,
            etcd: etcd_config,
            haproxy: haproxy_config,
            port,
            members,
        })
    }
}

/// A certificate of an authority made for this run.
fn certificate(folder: &Path) -> anyhow::Result<()> {
    let sealpost = |words: &[&str]| -> anyhow::Result<()> {
        let output = Command::new(binaries::sealpost()?).args(words).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.success(),
            "sealpost {}: {said}",
            words.join(" ")
        );
        Ok(())
    };
    let (authority, out) = (show(&folder.join("pki")), show(&folder.join("certificate")));
    sealpost(&["pki", "init", "--dir", &authority])?;
    let issue = [
        "pki",
        "issue-public",
        "--dir",
        &authority,
        "--name",
        "public",
    ];
    sealpost(&[&issue[..], &["--ip", "127.0.0.1", "--out", &out]].concat())?;
    fs::set_permissions(
        folder.join("certificate/public.key"),
        fs::Permissions::from_mode(0o600),
    )?;
    Ok(())
}

fn sample(name: &str) -> anyhow::Result<String> {
    Ok(fs::read_to_string(Path::new(SAMPLES).join(name))?)
}

pub fn show(path: &Path) -> String {
    path.display().to_string()
}

/// Where the newest PostgreSQL has its programs.
fn postgres_binaries() -> anyhow::Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").context("PostgreSQL is not installed")?;
    let mut found: Vec<_> = versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("postgres").is_file())
        .collect();
    found.sort();
    found.pop().context("PostgreSQL is not installed")
}

/// Starts a program as the unprivileged user; it ends when this process does.
pub fn start(folder: &Path, name: &str, words: &[String]) -> anyhow::Result<Child> {
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join(format!("{name}.log")))?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]);
    if getuid().is_root() {
        command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]);
    }
    command
        .args(words)
        .env("HOME", folder)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("{name} cannot be started: is it installed?"))
}
