//! Landlock: which files and ports there are for this process (`landlock(7)`).

use std::{
    collections::BTreeSet,
    env,
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use crate::Config;

/// Files since Linux 5.13, truncation since 6.2, ports since 6.7: these must be had. Newer kernels keep device calls and signals in,
/// too.
const NEEDED: ABI = ABI::V4;
const WANTED: ABI = ABI::V6;

/// What the C library, the resolver and a token's library read.
const SYSTEM: [&str; 12] = [
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/opt",
    "/proc/self",
    "/proc/sys",
    "/proc/stat",
    "/sys/devices/system",
    "/sys/fs/cgroup",
    "/dev/random",
    "/dev/urandom",
];

const DNS: u16 = 53;

pub(super) fn restrict(config: &Config) -> Result<(), String> {
    let said = |error: RulesetError| error.to_string();
    let write = writable(config);
    for folder in &write {
        let file = |error| format!("{}: {error}", folder.display());
        // What is made later must have a folder to be made in.
        if !folder.exists() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(file)?;
        }
        if fs::canonicalize(folder).map_err(file)? == Path::new("/") {
            let problem =
                "root key, keyring, database and key file need folders of their own, not /";
            return Err(problem.to_owned());
        }
    }
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(NEEDED))
        .map_err(said)?
        .handle_access(AccessNet::from_all(NEEDED))
        .map_err(said)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(WANTED))
        .map_err(said)?;
    // A test lets other processes die with this one.
    let ruleset = if sealpost_failpoints::ARMED {
        ruleset
    } else {
        ruleset.scope(Scope::from_all(WANTED)).map_err(said)?
    };
    let mut rules = ruleset.create().map_err(said)?;
    let all = AccessFs::from_all(WANTED) & !AccessFs::Execute;
    let reading = AccessFs::from_read(WANTED) & !AccessFs::Execute;
    for (paths, access) in [(write, all), (readable(config), reading)] {
        for path in paths {
            // What is not there cannot be read; nor may it appear later.
            let Ok(opened) = PathFd::new(&path) else {
                continue;
            };
            let access = if path.is_dir() {
                access
            } else {
                access & AccessFs::from_file(WANTED)
            };
            rules = rules
                .add_rule(PathBeneath::new(opened, access))
                .map_err(said)?;
        }
    }
    let listening = [
        Some(config.server.listen.port()),
        config.metrics.as_ref().map(|metrics| metrics.listen.port()),
    ];
    for port in listening.into_iter().flatten() {
        rules = rules
            .add_rule(NetPort::new(port, AccessNet::BindTcp))
            .map_err(said)?;
    }
    let database = config.database.url.port().map(|port| [port, DNS]);
    let called = database.iter().flatten().chain(&config.containment.connect);
    for port in called {
        rules = rules
            .add_rule(NetPort::new(*port, AccessNet::ConnectTcp))
            .map_err(said)?;
    }
    match rules.restrict_self().map_err(said)?.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        RulesetStatus::PartiallyEnforced => {
            tracing::warn!(
                reason = "LANDLOCK_PARTIAL",
                "this kernel's landlock knows files and ports, but neither device calls nor signals"
            );
            Ok(())
        }
        RulesetStatus::NotEnforced => Err("the kernel does not enforce it".to_owned()),
    }
}

/// Folders in which the vault makes and replaces files.
fn writable(config: &Config) -> BTreeSet<PathBuf> {
    let mut paths: BTreeSet<_> = config.containment.write.iter().cloned().collect();
    // The key file's folder when the file is yet to be made: beside it may lie what is nobody's to write.
    let key_file = config.unseal.key_file.as_ref().map(|key| &*key.file);
    let files = [
        Some(&*config.root_key),
        config.database.url.file(),
        key_file.filter(|file| !file.exists()),
    ];
    paths.extend(files.into_iter().flatten().map(folder_of));
    paths.insert(config.keyring.clone());
    paths.extend(sealpost_failpoints::folder());
    paths
}

/// What it reads, and reads anew when it changes: so the folders.
fn readable(config: &Config) -> BTreeSet<PathBuf> {
    let mut paths: BTreeSet<_> = config.containment.read.iter().cloned().collect();
    paths.extend(SYSTEM.map(PathBuf::from));
    let tls = &config.server.tls;
    let pin_file = config.unseal.pkcs11.as_ref().map(|token| &*token.pin_file);
    let key_file = config.unseal.key_file.as_ref().map(|key| &*key.file);
    let database = config.database.url.read_files();
    let named = ["PGPASSFILE", "SOFTHSM2_CONF"].map(env::var_os);
    // Mostly a link to where it is written anew.
    let resolver = fs::canonicalize("/etc/resolv.conf").ok();
    let files = [
        Some(&*tls.certificate),
        Some(&*tls.private_key),
        Some(&*tls.ca),
        tls.crl.as_deref(),
        pin_file,
        key_file,
        config.unseal.pkcs11.as_ref().map(|token| &*token.module),
        config.clock_file.as_deref(),
        resolver.as_deref(),
    ];
    let files = files.into_iter().flatten();
    let files = files.chain(database.iter().map(PathBuf::as_path));
    let files = files.chain(named.iter().flatten().map(Path::new));
    paths.extend(files.map(folder_of));
    paths
}

fn folder_of(file: &Path) -> PathBuf {
    let folder = file.parent().unwrap_or(Path::new("/"));
    if folder.as_os_str().is_empty() {
        return PathBuf::from(".");
    }
    folder.to_owned()
}
