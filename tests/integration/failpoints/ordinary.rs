//! Ordinary binaries have no failpoints.

use std::fs;

use anyhow::{Context, ensure};
use memchr::memmem;
use sealpost_tests::binaries::{names, sealpost, sealpost_with_failpoints};
use sealpost_tests::failpoints::FOLDER;

/// Some of the names, and the variable without which none is read.
const WORDS: [&str; 5] = [
    FOLDER,
    "admit.loaded",
    "file.overwritten",
    "events.sent",
    "receive.decrypted",
];

#[test]
fn an_ordinary_binary_holds_no_failpoint() -> anyhow::Result<()> {
    let (ordinary, marked) = (sealpost()?, sealpost_with_failpoints()?);
    let found = |binary| -> anyhow::Result<Vec<&str>> {
        let bytes = fs::read(binary)?;
        let holds = |word: &&str| memmem::find(&bytes, word.as_bytes()).is_some();
        Ok(WORDS.into_iter().filter(holds).collect())
    };
    let mut seen = Vec::new();
    for name in names() {
        let words = found(ordinary.with_file_name(&name))?;
        ensure!(words.is_empty(), "{name} holds {words:?}");
        let words = found(marked.with_file_name(&name))?;
        ensure!(words.contains(&FOLDER), "the control: {name} reads orders");
        seen.extend(words);
    }
    for word in WORDS {
        let control = seen.iter().find(|found| **found == word);
        control.with_context(|| format!("the control: {word} is somewhere"))?;
    }
    Ok(())
}
