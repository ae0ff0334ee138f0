//! What commands print: words for people, or with `--json` one JSON value for machines, on standard output. Progress and
//! warnings go to standard error.

use std::io::{self, Write};

use serde_json::Value;

/// Where and how to print.
#[derive(Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    /// For people, or for machines.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether a machine reads it.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Prints the result.
    pub fn say(self, words: &str, value: &Value) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{value}")?;
        } else if !words.is_empty() {
            writeln!(out, "{words}")?;
        }
        Ok(out.flush()?)
    }

    /// Prints why a command failed: what to do first, then each cause.
    pub fn complain(self, error: &anyhow::Error) {
        let mut words = format!("error: {error}");
        for cause in error.chain().skip(1) {
            words.push_str(&format!("\n  because: {cause}"));
        }
        self.note(&words);
    }

    /// Prints words that a machine does not need.
    pub fn note(self, words: &str) {
        // Nobody listening on standard error is no reason to stop.
        let _ = writeln!(io::stderr(), "{words}");
    }
}
