//! `docs/performance/results.json`: every figure that the pages have.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Map, Value};

use crate::machine;

/// All results, kept after each run: a set that is broken off leaves what it had.
pub struct Results {
    path: PathBuf,
    all: Value,
}

impl Results {
    /// Reads what is there.
    pub fn open(docs: &Path) -> anyhow::Result<Self> {
        let folder = docs.join("performance");
        fs::create_dir_all(&folder)?;
        let path = folder.join("results.json");
        let all = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).context("results.json is damaged")?,
            Err(_) => Value::Object(Map::new()),
        };
        Ok(Self { path, all })
    }

    /// Everything.
    pub fn all(&self) -> &Value {
        &self.all
    }

    /// Begins a set anew.
    pub fn begin(&mut self, set: &str, command: &str) {
        self.all[set] = machine::stamp(command);
    }

    /// Adds one result to a list of a set, and keeps it.
    pub fn add(&mut self, set: &str, list: &str, result: Value) -> anyhow::Result<()> {
        let results = &mut self.all[set][list];
        match results.as_array_mut() {
            Some(results) => results.push(result),
            None => *results = Value::Array(vec![result]),
        }
        self.keep()
    }

    fn keep(&self) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec_pretty(&self.all)?;
        text.push(b'\n');
        fs::write(&self.path, text)
            .with_context(|| format!("{} cannot be written", self.path.display()))
    }
}
