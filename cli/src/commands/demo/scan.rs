//! Looks for what nobody may keep: the contents of the demo's messages in any file of the suite, the consumer's phone number in
//! any file of a service that must not know it, and both in logs and metrics. Raw, in hexadecimal and in base64 at every
//! alignment, and contents in pieces, so that a page boundary in the middle hides nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use memchr::memmem::Finder;
use serde_json::{Value, json};

use crate::http::Http;
use crate::suite::layout::Layout;
use crate::suite::run_file::RunFile;
use crate::suite::service::Service;

/// Length of the pieces that contents are cut into, 12 characters: of base64 text that is 72 random bits.
const PIECE: usize = 12;
/// Who has the consumer's phone number on its disk, by design.
const KNOWS_PHONES: Service = Service::Relay;

/// What to look for.
pub struct Scan {
    contents: Vec<Finder<'static>>,
    phone: Vec<Finder<'static>>,
}

/// What was looked at, and found.
#[derive(Debug, Default)]
pub struct Found {
    files: usize,
    bytes: u64,
    hits: BTreeSet<String>,
    control: bool,
}

impl Scan {
    /// For this phone number and these contents.
    pub fn new(phone: &str, contents: &[String]) -> Self {
        let pieces = contents
            .iter()
            .flat_map(|content| forms(content.as_bytes()))
            .flat_map(|form| {
                form.chunks_exact(PIECE)
                    .map(<[u8]>::to_vec)
                    .collect::<Vec<_>>()
            });
        let mut numbers = forms(phone.as_bytes());
        numbers.extend(integer_forms(phone));
        Self {
            contents: finders(pieces),
            phone: finders(numbers),
        }
    }

    /// Looks through every file of the suite's folder.
    pub fn run(&self, layout: &Layout) -> anyhow::Result<Found> {
        let mut found = Found::default();
        let without_phone = |path: &Path| {
            let elsewhere = Service::ALL
                .into_iter()
                .filter(|service| *service != KNOWS_PHONES)
                .any(|service| path.starts_with(layout.shared(service)));
            let logs = layout.log(&KNOWS_PHONES.into());
            elsewhere || logs.parent().is_some_and(|logs| path.starts_with(logs))
        };
        for path in files(layout.root())? {
            let bytes = match std::fs::read(&path) {
                Ok(bytes) => bytes,
                // A journal that was folded in meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| path.display().to_string()),
            };
            let name = path.strip_prefix(layout.root()).unwrap_or(&path);
            self.look(
                &name.display().to_string(),
                &bytes,
                without_phone(&path),
                &mut found,
            );
            if path.starts_with(layout.shared(KNOWS_PHONES)) {
                found.control |= holds(&self.phone, &bytes);
            }
        }
        Ok(found)
    }

    /// Looks through every service's metrics.
    pub async fn metrics(&self, run: &RunFile) -> anyhow::Result<Found> {
        let http = Http::new();
        let mut found = Found::default();
        for (name, service) in &run.services {
            let page = http
                .get(&service.metrics)
                .await
                .with_context(|| format!("the metrics of {name}"))?;
            self.look(&format!("metrics of {name}"), &page, true, &mut found);
        }
        Ok(found)
    }

    /// Whether sealed bytes hold a content.
    pub fn look(&self, name: &str, bytes: &[u8], without_phone: bool, found: &mut Found) {
        found.files += 1;
        found.bytes += bytes.len() as u64;
        if holds(&self.contents, bytes) {
            found.hits.insert(format!("content in {name}"));
        }
        if without_phone && holds(&self.phone, bytes) {
            found.hits.insert(format!("phone number in {name}"));
        }
    }
}

impl Found {
    /// Adds another look's.
    pub fn absorb(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.hits.extend(other.hits);
        self.control |= other.control;
    }

    /// Whether the phone number was found where it must be: a search that finds nothing anywhere proves nothing.
    pub fn finds_what_is_there(&self) -> bool {
        self.control
    }

    /// What was found, and where.
    pub fn hits(&self) -> impl Iterator<Item = &str> {
        self.hits.iter().map(String::as_str)
    }

    /// How many files and pages were looked at.
    pub fn files(&self) -> usize {
        self.files
    }

    /// How large they were together.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// For machines.
    pub fn json(&self) -> Value {
        json!({"files": self.files, "bytes": self.bytes, "found": self.hits})
    }
}

fn holds(needles: &[Finder<'_>], bytes: &[u8]) -> bool {
    needles.iter().any(|needle| needle.find(bytes).is_some())
}

fn finders(needles: impl IntoIterator<Item = Vec<u8>>) -> Vec<Finder<'static>> {
    let unique: BTreeSet<_> = needles.into_iter().collect();
    unique
        .iter()
        .map(|needle| Finder::new(needle).into_owned())
        .collect()
}

/// The bytes as they are, in hexadecimal, and in base64 wherever they may stand in a longer text.
fn forms(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![
        bytes.to_vec(),
        hex::encode(bytes).into_bytes(),
        hex::encode_upper(bytes).into_bytes(),
    ];
    for alphabet in [&STANDARD, &URL_SAFE] {
        forms.extend((0..3).map(|before| in_base64(bytes, before, alphabet)));
    }
    forms
}

/// The characters that the bytes alone decide when `before` bytes stand before them.
fn in_base64(bytes: &[u8], before: usize, alphabet: &Alphabet) -> Vec<u8> {
    let engine = GeneralPurpose::new(alphabet, GeneralPurposeConfig::new());
    let mut text = vec![0; before];
    text.extend_from_slice(bytes);
    let encoded = engine.encode(&text);
    let first = (before * 8).div_ceil(6);
    let last = text.len() * 8 / 6;
    encoded.as_bytes()[first..last].to_vec()
}

/// A phone number as a 6-byte integer, as a database may pack it, in both byte orders.
fn integer_forms(phone: &str) -> Vec<Vec<u8>> {
    let Ok(number) = phone.parse::<u64>() else {
        return Vec::new();
    };
    let (big, little) = (number.to_be_bytes(), number.to_le_bytes());
    vec![big[2..].to_vec(), little[..6].to_vec()]
}

fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            found.extend(files(&entry.path())?);
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use base64::engine::general_purpose;

    use super::*;

    const PHONE: &str = "15550200000";
    const CONTENT: &str = "q8ZVx1uJ5bA0cK3dR7tYw2EoLmNpHsGf4iU6aTzXkQ9";

    fn hits(path: &str, bytes: &[u8]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path()).unwrap();
        let file = folder.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, bytes).unwrap();
        let found = Scan::new(PHONE, &[CONTENT.to_owned()])
            .run(&layout)
            .unwrap();
        assert_eq!(found.files(), 1);
        found.hits().map(str::to_owned).collect()
    }

    #[test]
    fn a_content_is_found_raw_encoded_and_torn() {
        let embedded = |before: &str| format!("{before}{CONTENT} and more");
        let mut places: Vec<Vec<u8>> = vec![
            embedded("xyz").into_bytes(),
            hex::encode(embedded("x")).into_bytes(),
        ];
        for before in ["", "x", "xy"] {
            let text = embedded(before);
            places.push(general_purpose::STANDARD.encode(&text).into_bytes());
            places.push(general_purpose::URL_SAFE.encode(&text).into_bytes());
        }
        let (one, two) = CONTENT.split_at(20);
        places.push(format!("{one}\0\0\0\0{two}").into_bytes());
        for place in places {
            assert_eq!(
                hits("data/store/store.db", &place),
                ["content in data/store/store.db"]
            );
        }
    }

    #[test]
    fn a_phone_number_is_found_wherever_it_may_not_be_and_allowed_in_the_relay() {
        let integer = 15_550_200_000_u64.to_be_bytes();
        for bytes in [PHONE.as_bytes(), &integer[2..]] {
            assert_eq!(hits("data/key-vault/vault.db", bytes).len(), 1);
            assert_eq!(hits("logs/relay.log", bytes).len(), 1);
            assert_eq!(hits("data/relay/relay.db", bytes).len(), 0);
        }
    }

    #[test]
    fn a_search_that_misses_the_phone_number_in_the_relay_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path()).unwrap();
        let scan = Scan::new(PHONE, &[]);
        std::fs::create_dir_all(layout.shared(KNOWS_PHONES)).unwrap();
        assert!(!scan.run(&layout).unwrap().finds_what_is_there());
        std::fs::write(layout.codes_file(), PHONE).unwrap();
        assert!(scan.run(&layout).unwrap().finds_what_is_there());
    }

    #[test]
    fn other_bytes_are_not_found() {
        assert!(hits("data/store/store.db", b"q8ZVx1uJ5b 1555020000").is_empty());
    }
}
