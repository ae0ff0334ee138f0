//! Searching for what must not be there, byte by byte, however a program wrote it: in files, and in what a suite keeps, on either
//! database.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use memchr::memmem;

use crate::Suite;
use crate::database::Kind;

/// Bytes, and where they are.
pub type Files = Vec<(PathBuf, Vec<u8>)>;

/// What an instance can still hand out. On SQLite that is every byte of its folder, since what is deleted is overwritten; on
/// PostgreSQL its folder and a dump of its database.
///
/// # Errors
/// When something does not read.
pub fn rows_of(suite: &Suite, name: &str) -> anyhow::Result<Files> {
    let own = suite.facts().service(name)?.data.clone();
    let mut found = Vec::new();
    collect(&own, &mut found)?;
    if suite.kind() == Kind::Postgres && suite.database_url(name).is_ok() {
        found.push((own.join("dump.sql"), suite.dump(name)?));
    }
    Ok(found)
}

/// Every byte that an instance keeps, deleted rows of PostgreSQL included. Paths are below the instance's folder.
///
/// # Errors
/// When something does not read.
pub fn bytes_of(suite: &Suite, name: &str) -> anyhow::Result<Files> {
    let mut found = rows_of(suite, name)?;
    if suite.kind() == Kind::Postgres && suite.database_url(name).is_ok() {
        let own = &suite.facts().service(name)?.data;
        for (path, bytes) in suite.database_files(name)? {
            let file = path.file_name().context("a file has a name")?;
            found.push((own.join("postgres").join(file), bytes));
        }
    }
    Ok(found)
}

/// Every byte that the suite's instances keep.
///
/// # Errors
/// When something does not read.
pub fn bytes(suite: &Suite) -> anyhow::Result<Files> {
    let mut found = Vec::new();
    for name in suite.names() {
        found.extend(bytes_of(suite, name)?);
    }
    anyhow::ensure!(
        !found.is_empty(),
        "nothing is kept: a search would prove nothing"
    );
    Ok(found)
}

/// Every file in these folders, with its bytes. A database's write-ahead log is a file like any other.
///
/// # Errors
/// When one does not read.
pub fn files(folders: &[PathBuf]) -> anyhow::Result<Files> {
    let mut found = Vec::new();
    for folder in folders {
        collect(folder, &mut found)?;
    }
    anyhow::ensure!(
        !found.is_empty(),
        "no files in {folders:?}: a search would prove nothing"
    );
    Ok(found)
}

fn collect(folder: &Path, found: &mut Files) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, found)?;
        } else {
            match fs::read(&path) {
                Ok(bytes) => found.push((path, bytes)),
                // A database may take its shared-memory file away at any moment.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| path.display().to_string()),
            }
        }
    }
    Ok(())
}

/// The ways in which a program may have written `secret` down: as it is, in hex, in base64 (both alphabets, at any offset).
#[must_use]
pub fn disguises(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![
        secret.to_vec(),
        hex::encode(secret).into_bytes(),
        hex::encode_upper(secret).into_bytes(),
    ];
    for shift in 0..3 {
        let mut shifted = vec![0; shift];
        shifted.extend_from_slice(secret);
        let text = base64(&shifted);
        // The first and the last characters hold bits of the neighbours.
        let inner = &text[shift + 1..text.len().saturating_sub(2)];
        if inner.len() >= 8 {
            forms.push(inner.to_vec());
            forms.push(
                inner
                    .iter()
                    .map(|byte| match byte {
                        b'+' => b'-',
                        b'/' => b'_',
                        other => *other,
                    })
                    .collect(),
            );
        }
    }
    forms
}

/// Files that have `secret` in any disguise.
#[must_use]
pub fn holders<'a>(files: &'a [(PathBuf, Vec<u8>)], secret: &[u8]) -> Vec<&'a Path> {
    let forms = disguises(secret);
    let finders: Vec<_> = forms.iter().map(memmem::Finder::new).collect();
    let has = |bytes: &[u8]| finders.iter().any(|form| form.find(bytes).is_some());
    files
        .iter()
        .filter(|(_, bytes)| has(bytes))
        .map(|(path, _)| path.as_path())
        .collect()
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::new();
    for chunk in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for place in 0..=chunk.len() {
            text.push(ALPHABET[(bits >> (18 - 6 * place)) as usize & 63]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_as_it_is_and_in_every_disguise() {
        let secret = b"what nobody may read";
        let plant =
            |text: &[u8]| vec![(PathBuf::from("f"), [b"before ", text, b" after"].concat())];
        let mut planted = vec![secret.to_vec(), hex::encode(secret).into_bytes()];
        for before in ["", "x", "xy", "xyz"] {
            planted.push(base64(&[before.as_bytes(), secret, b"tail"].concat()));
        }
        for text in planted {
            assert_eq!(
                holders(&plant(&text), secret).len(),
                1,
                "{}",
                String::from_utf8_lossy(&text)
            );
        }
        assert!(holders(&plant(b"something else"), secret).is_empty());
    }
}
