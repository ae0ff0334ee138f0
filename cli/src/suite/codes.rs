//! Registration codes of a development relay, from the file that it appends them to.
//!
//! Invariant: the file is read once, from where it ended when the reader was made, however many codes are waited for.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sealpost_consumer::{Code, ConsumerError};
use serde::Deserialize;
use tokio::time::{sleep, timeout};

/// How long a code may take to appear.
const CODE_TIME: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(5);

/// The codes that were sent since it was made.
pub struct NewCodes {
    path: PathBuf,
    read: Mutex<Reading>,
}

/// What was read.
struct Reading {
    offset: u64,
    /// A line whose end is not written yet.
    rest: Vec<u8>,
    found: HashMap<String, String>,
}

#[derive(Deserialize)]
struct SentCode {
    phone_number: String,
    code: String,
}

impl NewCodes {
    /// Those that the file has after now; it need not exist yet.
    pub fn of(path: &Path) -> Self {
        let offset = std::fs::metadata(path).map_or(0, |file| file.len());
        let read = Reading {
            offset,
            rest: Vec::new(),
            found: HashMap::new(),
        };
        Self {
            path: path.to_owned(),
            read: Mutex::new(read),
        }
    }

    /// The next code for `phone`.
    ///
    /// # Errors
    /// When none comes in time.
    pub async fn wait_for(&self, phone: &str) -> Result<Code, ConsumerError> {
        let found = timeout(CODE_TIME, async {
            loop {
                if let Some(code) = self.take(phone) {
                    return code;
                }
                sleep(LOOK).await;
            }
        });
        found
            .await
            .map_err(|_| ConsumerError::Malformed("no code was sent in time"))?
            .parse()
    }

    fn take(&self, phone: &str) -> Option<String> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        // A relay that has sent no code yet has made no file.
        let _ = read.go_on(&self.path);
        read.found.remove(phone)
    }
}

impl Reading {
    fn go_on(&mut self, path: &Path) -> io::Result<()> {
        let mut file = File::open(path)?;
        if file.metadata()?.len() <= self.offset {
            return Ok(());
        }
        file.seek(SeekFrom::Start(self.offset))?;
        self.offset += file.read_to_end(&mut self.rest)? as u64;
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(());
        };
        let rest = self.rest.split_off(end + 1);
        let lines = std::mem::replace(&mut self.rest, rest);
        for line in lines.split(|byte| *byte == b'\n') {
            if let Ok(sent) = serde_json::from_slice::<SentCode>(line) {
                self.found.insert(sent.phone_number, sent.code);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::OpenOptions;
    use std::io::Write;

    use super::*;

    fn append(path: &Path, text: &str) {
        let mut options = OpenOptions::new();
        let mut file = options.create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn line(phone: &str, code: &str) -> String {
        format!("{{\"phone_number\":\"{phone}\",\"code\":\"{code}\"}}\n")
    }

    #[test]
    fn codes_of_before_do_not_count_and_half_a_line_waits_for_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("codes.jsonl");
        append(&path, &line("1", "000001"));
        let codes = NewCodes::of(&path);
        assert_eq!(codes.take("1"), None);
        let (begin, end) = (line("1", "000002"), line("2", "000003"));
        append(&path, &begin[..20]);
        assert_eq!(codes.take("1"), None);
        append(&path, &begin[20..]);
        append(&path, &end);
        assert_eq!(codes.take("1").as_deref(), Some("000002"));
        assert_eq!(codes.take("1"), None);
        assert_eq!(codes.take("2").as_deref(), Some("000003"));
    }

    #[test]
    fn a_file_that_is_made_later_is_read_from_its_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("codes.jsonl");
        let codes = NewCodes::of(&path);
        assert_eq!(codes.take("1"), None);
        append(&path, &line("1", "123456"));
        assert_eq!(codes.take("1").as_deref(), Some("123456"));
    }
}
