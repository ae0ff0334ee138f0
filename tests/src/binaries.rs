//! Where the binaries under test are, and that they are what the sources say.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

use anyhow::{Context, bail, ensure};

/// Every service of a suite, in the order in which they start.
pub const SERVICES: [&str; 7] = [
    "directory",
    "key-vault",
    "store",
    "relay",
    "retention",
    "gateway",
    "connector",
];

/// Names another folder of binaries to test (an installed release, say). Those are taken as they are.
const ELSEWHERE: &str = "SEALPOST_BINARIES";
/// Names another folder of the binaries with failpoints.
const FAILPOINTS_ELSEWHERE: &str = "SEALPOST_FAILPOINT_BINARIES";

/// The `sealpost` command, its services beside it.
///
/// # Errors
/// When a binary is missing, or older than a source that it was built from.
pub fn sealpost() -> anyhow::Result<PathBuf> {
    static CHECKED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    CHECKED
        .get_or_init(|| locate().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(anyhow::Error::msg)
}

/// The same with failpoints in them: built by `.ci/failpoints` into a folder of their own.
///
/// # Errors
/// As [`sealpost`].
pub fn sealpost_with_failpoints() -> anyhow::Result<PathBuf> {
    static CHECKED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    CHECKED
        .get_or_init(|| locate_failpoints().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(anyhow::Error::msg)
}

/// Every binary's name.
pub fn names() -> impl Iterator<Item = String> {
    let services = SERVICES.iter().map(|service| format!("sealpost-{service}"));
    services.chain(["sealpost".to_owned()])
}

fn locate() -> anyhow::Result<PathBuf> {
    match elsewhere(ELSEWHERE)? {
        Some(program) => Ok(program),
        None => {
            let folders = Folders::own()?;
            folders.checked(&folders.target.join(&folders.profile), "make build")
        }
    }
}

fn locate_failpoints() -> anyhow::Result<PathBuf> {
    match elsewhere(FAILPOINTS_ELSEWHERE)? {
        Some(program) => Ok(program),
        None => {
            let folders = Folders::own()?;
            let folder = folders.target.join("failpoints").join(&folders.profile);
            folders.checked(&folder, "bash .ci/failpoints")
        }
    }
}

/// The binaries in the folder that `variable` names, if it does.
fn elsewhere(variable: &str) -> anyhow::Result<Option<PathBuf>> {
    let Some(folder) = std::env::var_os(variable).map(PathBuf::from) else {
        return Ok(None);
    };
    for name in names() {
        let path = folder.join(&name);
        ensure!(
            path.is_file(),
            "{variable}: {} is not there",
            path.display()
        );
    }
    Ok(Some(std::path::absolute(folder.join("sealpost"))?))
}

/// Cargo's folders.
struct Folders {
    /// Where binaries are put.
    target: PathBuf,
    /// Where they are built: the same folder, unless `CARGO_BUILD_BUILD_DIR` names another.
    build: PathBuf,
    /// This test's, by which it takes binaries of its kind.
    profile: OsString,
}

impl Folders {
    fn own() -> anyhow::Result<Self> {
        // This test runs as <build>/<profile>/deps/integration-<hash>.
        let own = std::env::current_exe().context("the path of this test")?;
        let folder = own
            .parent()
            .and_then(Path::parent)
            .context("the test is not in a cargo folder")?;
        let build = folder.parent().context("a profile lies in a folder")?;
        let profile = folder.file_name().context("a profile has a name")?;
        // A build folder elsewhere has no binaries of ours by their own names.
        let target = if folder.join("sealpost").exists() {
            build.to_owned()
        } else {
            let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
            let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
            target.unwrap_or(
                workspace
                    .context("tests/ lies in the workspace")?
                    .join("target"),
            )
        };
        Ok(Self {
            target,
            build: build.to_owned(),
            profile: profile.to_owned(),
        })
    }

    fn checked(&self, folder: &Path, remedy: &str) -> anyhow::Result<PathBuf> {
        for name in names() {
            check(&folder.join(name), &[&self.target, &self.build])
                .with_context(|| format!("run `{remedy}`"))?;
        }
        Ok(folder.join("sealpost"))
    }
}

/// Cargo writes beside each binary which sources it came from (`<binary>.d`): files, and folders that build scripts read.
/// What build scripts wrote below `made` comes of those, and is written anew at times without a change.
fn check(binary: &Path, made: &[&Path]) -> anyhow::Result<()> {
    let shown = binary.display();
    let Ok(built) = written(binary) else {
        bail!("{shown} is missing");
    };
    let facts = fs::read_to_string(binary.with_extension("d"))
        .with_context(|| format!("{shown} has no list of its sources"))?;
    let (_, sources) = facts
        .split_once(": ")
        .context("the list of sources is empty")?;
    for source in split(sources.trim())
        .iter()
        .filter(|source| !made.iter().any(|folder| source.starts_with(folder)))
    {
        let newest =
            newest(source).with_context(|| format!("{shown} came from {}", source.display()))?;
        if newest > built {
            bail!("{shown} is older than {}", source.display());
        }
    }
    Ok(())
}

/// When a file was last written, or the newest file below a folder.
fn newest(path: &Path) -> std::io::Result<SystemTime> {
    let mut newest = written(path)?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            newest = newest.max(self::newest(&entry?.path())?);
        }
    }
    Ok(newest)
}

/// Paths between spaces; a space within a path stands behind a backslash.
fn split(sources: &str) -> Vec<PathBuf> {
    sources
        .replace("\\ ", "\0")
        .split_whitespace()
        .map(|path| PathBuf::from(path.replace('\0', " ")))
        .collect()
}

fn written(path: &Path) -> std::io::Result<SystemTime> {
    fs::metadata(path)?.modified()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_binary_older_than_its_source_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        let protos = folder.path().join("some protos");
        fs::create_dir_all(target.join("out")).unwrap();
        fs::create_dir(&protos).unwrap();
        let (binary, source) = (target.join("b"), folder.path().join("a source.rs"));
        let (generated, proto) = (target.join("out/generated"), protos.join("x.proto"));
        let listed = [&source, &protos, &generated]
            .map(|path| path.display().to_string().replace(' ', "\\ "));
        fs::write(target.join("b.d"), format!("b: {}\n", listed.join(" "))).unwrap();
        let said = || format!("{:#}", check(&binary, &[&target]).unwrap_err());
        assert!(said().contains("missing"), "{}", said());

        for path in [&source, &generated, &proto, &binary] {
            fs::write(path, "").unwrap();
        }
        let later = |path: &Path, seconds| {
            let time = written(&binary).unwrap() + std::time::Duration::from_secs(seconds);
            fs::File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_modified(time)
                .unwrap();
        };
        later(&binary, 10);
        check(&binary, &[&target]).unwrap();
        later(&generated, 1);
        check(&binary, &[&target]).unwrap();
        later(&proto, 1);
        assert!(said().contains("older"), "{}", said());
        later(&binary, 10);
        later(&source, 1);
        assert!(said().contains("older"), "{}", said());
        later(&binary, 10);
        fs::remove_file(&source).unwrap();
        assert!(said().contains("came from"), "{}", said());
    }
}
