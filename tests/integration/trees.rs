//! What `cargo tree` shows of each binary, as a person who audits the build would ask it. The same walls by cargo's metadata, and
//! more of them, are in `walls`.

use std::process::Command;

use anyhow::ensure;

fn tree(package: &str) -> anyhow::Result<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree", "--locked", "--prefix", "none", "-e", "normal", "-p", package,
        ])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()?;
    ensure!(
        output.status.success(),
        "cargo tree: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn libsignal_is_in_the_vaults_tree_and_in_no_other_services() -> anyhow::Result<()> {
    ensure!(
        tree("sealpost-key-vault")?.contains("libsignal"),
        "the search finds nothing"
    );
    for service in [
        "gateway",
        "store",
        "retention",
        "directory",
        "relay",
        "connector",
        "connector-sdk",
    ] {
        let tree = tree(&format!("sealpost-{service}"))?;
        ensure!(tree.contains("tonic "), "{service}: no tree");
        for word in ["libsignal", "spqr", "signal-crypto"] {
            ensure!(!tree.contains(word), "{service} shows {word}");
        }
    }
    Ok(())
}

#[test]
fn no_tree_shows_a_second_tls_or_crypto_library() -> anyhow::Result<()> {
    for package in [
        "sealpost",
        "sealpost-key-vault",
        "sealpost-gateway",
        "sealpost-connector",
        "sealpost-tests",
    ] {
        let tree = tree(package)?;
        ensure!(tree.contains("rustls v"), "{package}: no tree");
        for word in ["aws-lc", "openssl", "native-tls"] {
            ensure!(!tree.contains(word), "{package} shows {word}");
        }
    }
    Ok(())
}
