//! Starting `sealpost up` for a test, and what it said when that failed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use sealpost_database::testing;
use tokio::time::sleep;

use crate::binaries;
use crate::database::{self, Kind};
use crate::failpoints::{self, Orders};
use crate::progress;
use crate::run_file::RunFile;

/// How long a suite may take until everything serves and all consumers are registered.
const UP_TIME: Duration = Duration::from_secs(180);
/// Keeps the folders and databases of suites, to look into.
pub const KEEP: &str = "SEALPOST_TESTS_KEEP";

/// Ends `sealpost up` when its standard input ends: with the harness's process, whatever becomes of that. Then takes the
/// suite's databases off the server, when it has one ($3), and its folder ($1) away, unless both are to be kept ($2).
const LIFELINE: &str = r#"
folder="$1"; keep="$2"; server="$3"; shift 3
exec 3<&0
"$@" </dev/null &
up=$!
{ cat <&3 >/dev/null; kill -TERM "$up" 2>/dev/null; } &
line=$!
wait "$up"; code=$?
kill "$line" 2>/dev/null
[ -n "$keep" ] || [ -z "$server" ] || SEALPOST_UP_DATABASE="$server" "$1" down --dir "$folder/suite" >/dev/null 2>&1
[ -n "$keep" ] || rm -rf "$folder"
exit "$code"
"#;

/// What to boot.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Numbers of the business.
    pub numbers: usize,
    /// Registered consumers.
    pub consumers: usize,
    /// Messages a second for each number; 0 is no limit.
    pub rate_limit: u32,
    /// Whether clocks follow [`Suite::set_clock`].
    pub clock_file: bool,
    /// Regions with a store each; none: one store for all.
    pub regions: &'static [&'static str],
    /// Processes of each service but the connector; several need PostgreSQL.
    pub replicas: u32,
    /// What to boot on, whatever the environment picks.
    pub database: Option<Kind>,
    /// Whether the binaries are those with failpoints, ordered by [`Suite::orders`](crate::Suite::orders).
    pub failpoints: bool,
    /// A server with a synchronous standby to boot on, as an operator's URL; else one of the test process.
    pub standby_server: Option<&'static str>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            numbers: 1,
            consumers: 1,
            rate_limit: 0,
            clock_file: false,
            regions: &[],
            replicas: 1,
            database: None,
            failpoints: false,
            standby_server: None,
        }
    }
}

impl Options {
    fn kind(&self) -> anyhow::Result<Kind> {
        if self.replicas > 1 || self.standby_server.is_some() {
            return Ok(Kind::Postgres);
        }
        self.database.map_or_else(database::picked, Ok)
    }
}

/// A suite that has come up.
pub(crate) struct Booted {
    /// Ends when its standard input does.
    pub(crate) up: Child,
    /// Everything of the test.
    pub(crate) folder: PathBuf,
    /// The suite's own folder in it.
    pub(crate) dir: PathBuf,
    /// A superuser of the server that it is on; of one that was given, its operator.
    pub(crate) server: Option<String>,
    /// The `sealpost` command that started it.
    pub(crate) program: PathBuf,
    /// What its failpoints are told.
    pub(crate) orders: Orders,
    pub(crate) run: RunFile,
}

/// Boots a suite whose webhooks go to `webhook`, and waits until it is healthy.
pub(crate) async fn boot(options: &Options, webhook: &str) -> anyhow::Result<Booted> {
    let program = if options.failpoints {
        binaries::sealpost_with_failpoints()?
    } else {
        binaries::sealpost()?
    };
    let kind = options.kind()?;
    let server = match (kind, options.standby_server) {
        (Kind::Sqlite, _) => String::new(),
        (Kind::Postgres, Some(url)) => url.to_owned(),
        (Kind::Postgres, None) => database::operator_url().await?,
    };
    let folder = tempfile::Builder::new()
        .prefix("sealpost-test-")
        .tempdir()?
        .keep();
    let dir = folder.join("suite");
    fs::create_dir(&dir)?;
    let orders = Orders::new(folder.join("failpoints"));
    let said = File::create(folder.join("up.out"))?;
    let mut command = Command::new("sh");
    command
        .args(["-c", LIFELINE, "lifeline"])
        .arg(&folder)
        .arg(std::env::var_os(KEEP).unwrap_or_default())
        .arg(&server)
        .arg(&program)
        .args(["up", "--webhook", webhook, "--dir"])
        .arg(&dir);
    let counts = [
        ("--numbers", options.numbers.to_string()),
        ("--consumers", options.consumers.to_string()),
        ("--rate-limit", options.rate_limit.to_string()),
        ("--replicas", options.replicas.to_string()),
    ];
    for (name, count) in counts {
        command.args([name, &count]);
    }
    if options.clock_file {
        command.arg("--clock-file");
    }
    if !options.regions.is_empty() {
        command.arg("--regions").arg(options.regions.join(","));
    }
    if options.standby_server.is_some() {
        command.arg("--require-synchronous-standby");
    }
    if !server.is_empty() {
        command.env("SEALPOST_UP_DATABASE", &server);
    }
    let start = Instant::now();
    let mut up = command
        .env(failpoints::FOLDER, orders.folder())
        .stdin(Stdio::piped())
        .stdout(said.try_clone()?)
        .stderr(said)
        .spawn()
        .context("sh starts sealpost up")?;
    let run_file = dir.join("run.json");
    let mut said = String::new();
    while !run_file.exists() {
        // The folder is gone once the shell has ended.
        let fresh = explain(&folder);
        if !fresh.is_empty() {
            said = fresh;
        }
        if let Some(status) = up.try_wait()? {
            bail!("sealpost up ended ({status}):\n{said}");
        }
        if start.elapsed() > UP_TIME {
            drop(up.stdin.take());
            let _ = up.wait();
            bail!("no suite after {UP_TIME:?}:\n{said}");
        }
        sleep(Duration::from_millis(50)).await;
    }
    progress(&format!(
        "a suite is up after {:.1} s on {kind:?} in {}",
        start.elapsed().as_secs_f32(),
        dir.display()
    ));
    Ok(Booted {
        up,
        run: RunFile::load(&run_file)?,
        folder,
        dir,
        program,
        orders,
        server: match (kind, options.standby_server) {
            (Kind::Sqlite, _) => None,
            (Kind::Postgres, Some(url)) => Some(url.to_owned()),
            (Kind::Postgres, None) => Some(testing::server_url().await),
        },
    })
}

/// What `up` said, and the warnings and errors at the end of each log.
pub(crate) fn explain(folder: &Path) -> String {
    let mut text = fs::read_to_string(folder.join("up.out")).unwrap_or_default();
    let logs = fs::read_dir(folder.join("suite/logs"));
    let mut logs: Vec<_> = logs.into_iter().flatten().flatten().collect();
    logs.sort_by_key(fs::DirEntry::file_name);
    for entry in logs {
        let log = fs::read(entry.path()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let telling: Vec<_> = log
            .lines()
            .filter(|line| !line.contains("INFO") && !line.contains("DEBUG"))
            .collect();
        if !telling.is_empty() {
            let shown = telling[telling.len().saturating_sub(15)..].join("\n");
            let name = entry.file_name();
            text.push_str(&format!("--- {}\n{shown}\n", name.display()));
        }
    }
    text
}
