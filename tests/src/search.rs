//! Searching files for what must not be in them, byte by byte, however a program wrote it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Every file in these folders, with its bytes. A database's write-ahead log is a file like any other.
///
/// # Errors
/// When one does not read.
pub fn files(folders: &[PathBuf]) -> anyhow::Result<Vec<(PathBuf, Vec<u8>)>> {
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

fn collect(folder: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) -> anyhow::Result<()> {
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
    let has = |bytes: &[u8]| forms.iter().any(|form| contains(bytes, form));
    files
        .iter()
        .filter(|(_, bytes)| has(bytes))
        .map(|(path, _)| path.as_path())
        .collect()
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    let Some(first) = wanted.first() else {
        return false;
    };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        if rest[at..].starts_with(wanted) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
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
