//! One log line: collects the allowed fields of an event and writes them for a person or for a machine.

use std::fmt::{self, Write};

use serde_json::{Map, Value};
use tracing::{
    Level,
    field::{Field, Visit},
};
use tracing_subscriber::fmt::{
    format::Writer,
    time::{FormatTime, SystemTime},
};

use super::ALLOWED_FIELDS;
use crate::args::LogFormat;

/// Digits that may stand in a row in free text: a port or a code, never a phone number.
const DIGITS_SHOWN: usize = 5;

pub(super) struct Line {
    service: &'static str,
    level: Level,
    target: String,
    fields: Map<String, Value>,
}

impl Line {
    pub(super) fn new(service: &'static str, level: Level, target: &str) -> Self {
        Self {
            service,
            level,
            target: target.to_owned(),
            fields: Map::new(),
        }
    }

    pub(super) fn put_text(&mut self, name: &str, text: &str) {
        self.put(name, Value::String(masked(text)));
    }

    pub(super) fn render(mut self, format: LogFormat) -> String {
        let mut time = String::new();
        // Only a full disk of memory fails here; the line is worth more than its time.
        let _ = SystemTime.format_time(&mut Writer::new(&mut time));
        match format {
            LogFormat::Json => {
                let mut all = Map::new();
                all.insert("time".to_owned(), time.into());
                all.insert("level".to_owned(), self.level.as_str().into());
                all.insert("service".to_owned(), self.service.into());
                all.insert("target".to_owned(), self.target.into());
                for (name, value) in self.fields {
                    all.entry(name).or_insert(value);
                }
                format!("{}\n", Value::Object(all))
            }
            LogFormat::Human => {
                let message = self.fields.remove("message");
                let message = message.as_ref().and_then(Value::as_str).unwrap_or_default();
                let mut text = format!(
                    "{time} {:>5} {} {}: {}",
                    self.level.as_str(),
                    self.service,
                    self.target,
                    message.escape_debug()
                );
                for (name, value) in &self.fields {
                    // Writing to a string cannot fail.
                    let _ = write!(text, " {name}={value}");
                }
                text.push('\n');
                text
            }
        }
    }

    fn put(&mut self, name: &str, value: Value) {
        if ALLOWED_FIELDS.contains(&name) {
            self.fields.insert(name.to_owned(), value);
        }
    }
}

impl Visit for Line {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Formatting what will be dropped would only cost.
        if ALLOWED_FIELDS.contains(&field.name()) {
            self.put_text(field.name(), &format!("{value:?}"));
        }
    }
}

/// Replaces each run of more than [`DIGITS_SHOWN`] digits by `#`.
fn masked(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut run = String::new();
    for character in text.chars().chain(['\0']) {
        if character.is_numeric() {
            run.push(character);
            continue;
        }
        if run.chars().count() > DIGITS_SHOWN {
            shown.push('#');
        } else {
            shown.push_str(&run);
        }
        run.clear();
        shown.push(character);
    }
    shown.pop();
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_runs_of_digits_stay_and_long_ones_go() {
        assert_eq!(masked("127.0.0.1:65535"), "127.0.0.1:65535");
        assert_eq!(masked("+491511234567 and 12"), "+# and 12");
        assert_eq!(masked("491511"), "#");
        assert_eq!(masked(""), "");
    }
}
