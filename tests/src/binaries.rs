//! Where the binaries under test are, and that they are what the sources say.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

use anyhow::{Context, bail};

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

fn locate() -> anyhow::Result<PathBuf> {
    let names = || {
        let services = SERVICES.iter().map(|service| format!("sealpost-{service}"));
        services.chain(["sealpost".to_owned()])
    };
    if let Some(folder) = std::env::var_os(ELSEWHERE) {
        let folder = PathBuf::from(folder);
        for name in names() {
            let path = folder.join(&name);
            anyhow::ensure!(
                path.is_file(),
                "{ELSEWHERE}: {} is not there",
                path.display()
            );
        }
        return Ok(std::path::absolute(folder.join("sealpost"))?);
    }
    // This test runs as <target>/<profile>/deps/integration-<hash>.
    let own = std::env::current_exe().context("the path of this test")?;
    let profile = own
        .parent()
        .and_then(Path::parent)
        .context("the test is not in a cargo target folder")?;
    for name in names() {
        check(&profile.join(name))?;
    }
    Ok(profile.join("sealpost"))
}

/// Cargo writes beside each binary which sources it came from (`<binary>.d`).
fn check(binary: &Path) -> anyhow::Result<()> {
    let shown = binary.display();
    let Ok(built) = written(binary) else {
        bail!("{shown} is missing: run `make build`");
    };
    let facts = fs::read_to_string(binary.with_extension("d"))
        .with_context(|| format!("{shown} has no list of its sources: run `make build`"))?;
    let (_, sources) = facts
        .split_once(": ")
        .context("the list of sources is empty")?;
    for source in split(sources.trim()) {
        match written(&source) {
            Ok(changed) if changed > built => {
                bail!(
                    "{shown} is older than {}: run `make build`",
                    source.display()
                );
            }
            Ok(_) => {}
            Err(_) => bail!(
                "{shown} was built from {}, which is gone: run `make build`",
                source.display()
            ),
        }
    }
    Ok(())
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
        let (binary, source) = (folder.path().join("b"), folder.path().join("a source.rs"));
        let listed = source.display().to_string().replace(' ', "\\ ");
        fs::write(folder.path().join("b.d"), format!("b: {listed}\n")).unwrap();
        assert!(
            check(&binary)
                .unwrap_err()
                .to_string()
                .contains("make build")
        );

        fs::write(&source, "").unwrap();
        fs::write(&binary, "").unwrap();
        check(&binary).unwrap();

        let later = written(&binary).unwrap() + std::time::Duration::from_secs(1);
        fs::File::options()
            .write(true)
            .open(&source)
            .unwrap()
            .set_modified(later)
            .unwrap();
        assert!(check(&binary).unwrap_err().to_string().contains("older"));
    }
}
