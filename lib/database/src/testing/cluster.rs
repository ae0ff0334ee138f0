//! A PostgreSQL cluster that lives no longer than the test process.
//!
//! A shell of its own process group starts the server and waits on a pipe whose other end the test process alone holds. The pipe
//! closes with the process, even after SIGKILL; the shell then kills the server and deletes its folder.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use crate::Connection;

/// The oldest major version that counts.
const OLDEST: u32 = 15;
/// `$1` the binaries' folder, `$2` the cluster's. Orders come by standard input, one word a line, each answered by a line.
const KEEPER: &str = r#"
start() { "$1/postgres" -D "$2/data" >>"$2/log" 2>&1 </dev/null & server=$!; }
start "$@"
while read -r order; do
    case $order in
        crash) kill -QUIT "$server"; wait "$server" ;;
        start) start "$@" ;;
    esac
    echo done
done
kill -QUIT "$server" 2>/dev/null
wait "$server"
rm -rf "$2"
"#;
/// The server's settings are the defaults but for size, so that what a service checks of a real server holds here.
const SETTINGS: &str = "\
listen_addresses = '127.0.0.1'
max_connections = 300
shared_buffers = 32MB
log_min_messages = warning
";

/// A running cluster; dropped, it is gone.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    port: u16,
    keeper: Child,
    pipes: Mutex<Pipes>,
}

#[derive(Debug)]
struct Pipes {
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// The folder of the newest server's binaries on this machine.
///
/// # Panics
/// When there is none, with the way to get one.
#[must_use]
pub fn binaries() -> PathBuf {
    let mut folders: Vec<(u32, PathBuf)> = Vec::new();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        folders.extend(version(&folder).map(|version| (version, folder)));
    }
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    for entry in installed.filter_map(Result::ok) {
        let folder = entry.path().join("bin");
        folders.extend(version(&folder).map(|version| (version, folder)));
    }
    let newest = folders.into_iter().max();
    let Some((_, folder)) = newest.filter(|(version, _)| *version >= OLDEST) else {
        panic!(
            "NO POSTGRESQL {OLDEST} OR NEWER ON THIS MACHINE, so half of the tests cannot run. Install it \
             (Debian: apt-get install postgresql), or name a cluster by SEALPOST_TESTS_POSTGRES=postgres://user@host/postgres, \
             or leave it out knowingly by SEALPOST_TESTS_DATABASE=sqlite"
        );
    };
    folder
}

/// The major version of the server in `folder`, if one is there.
fn version(folder: &Path) -> Option<u32> {
    let output = Command::new(folder.join("postgres"))
        .arg("--version")
        .output();
    let text = String::from_utf8(output.ok()?.stdout).ok()?;
    let number = text.split_whitespace().last()?;
    // "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)"
    let number = text.split_whitespace().nth(2).unwrap_or(number);
    number.split('.').next()?.parse().ok()
}

impl Cluster {
    /// Makes a cluster and waits until it answers.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// The same with more lines of `postgresql.conf`.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn start_with(settings: &str) -> Self {
        let settings = format!("{SETTINGS}{settings}");
        let started = tokio::task::spawn_blocking(move || Self::start_blocking(&settings));
        let cluster = started.await.unwrap();
        cluster.wait().await;
        cluster
    }

    fn start_blocking(settings: &str) -> Self {
        let binaries = binaries();
        let folder = tempfile::Builder::new()
            .prefix("sealpost-pg-")
            .tempdir()
            .unwrap()
            .keep();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        let user = unprivileged();
        if let Some((uid, gid)) = user {
            chown(&folder, Some(uid), Some(gid)).unwrap();
        }
        let command = |program: &Path| {
            let mut command = Command::new(program);
            if let Some((uid, gid)) = user {
                command.uid(uid).gid(gid);
            }
            command.current_dir(&folder).process_group(0);
            command
        };
        let made = command(&binaries.join("initdb"))
            .args(["--username=sealpost", "--auth=trust", "--no-sync"])
            .args(["--encoding=UTF8", "--locale=C", "-D"])
            .arg(folder.join("data"))
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let port = free_port();
        let file = folder.join("data/postgresql.conf");
        let own = format!(
            "{}\nport = {port}\nunix_socket_directories = '{}'\n{settings}",
            fs::read_to_string(&file).unwrap(),
            folder.display()
        );
        fs::write(&file, own).unwrap();
        let mut keeper = command(Path::new("/bin/sh"))
            .args(["-c", KEEPER, "sh"])
            .arg(&binaries)
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pipes = Pipes {
            orders: keeper.stdin.take(),
            answers: BufReader::new(keeper.stdout.take().unwrap()),
        };
        Self {
            folder,
            port,
            keeper,
            pipes: Mutex::new(pipes),
        }
    }

    /// The superuser's URL, by TCP to 127.0.0.1.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://sealpost@127.0.0.1:{}/postgres", self.port)
    }

    /// The superuser's URL, by the Unix socket.
    #[must_use]
    pub fn socket_url(&self) -> String {
        let folder = self.folder.display();
        format!(
            "postgres://sealpost@localhost:{}/postgres?host={folder}",
            self.port
        )
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The cluster's folder: `data` is the server's, `log` what it says.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Kills the server as a crash would, without a checkpoint, and waits until it is gone.
    pub fn crash(&self) {
        self.order("crash");
    }

    /// Starts the server again and waits until it answers.
    pub async fn restart(&self) {
        self.order("start");
        self.wait().await;
    }

    fn order(&self, order: &str) {
        let mut pipes = self.pipes.lock().unwrap();
        writeln!(pipes.orders.as_mut().unwrap(), "{order}").unwrap();
        let mut answer = String::new();
        pipes.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, "done\n");
    }

    async fn wait(&self) {
        sqlx::any::install_default_drivers();
        for _ in 0..600 {
            if let Ok(connection) = Connection::connect(&self.url()).await {
                connection.close().await.ok();
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        panic!("the tests' PostgreSQL does not answer:\n{log}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.pipes.lock().unwrap().orders.take();
        self.keeper.wait().ok();
    }
}

/// PostgreSQL refuses to run as root: then somebody else's uid and gid.
fn unprivileged() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| -> Option<u32> {
        let output = Command::new("id").args(arguments).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    if id(&["-u"]) != Some(0) {
        return None;
    }
    ["postgres", "nobody"]
        .iter()
        .find_map(|user| Some((id(&["-u", user])?, id(&["-g", user])?)))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
