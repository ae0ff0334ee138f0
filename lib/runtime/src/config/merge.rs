//! Lays the sources of configuration over each other, remembering which key came from where.
//!
//! Pure: text in, a typed value or an error out.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{ConfigError, Origin};

/// The sources read so far.
#[derive(Default)]
pub(super) struct Merged {
    table: Table,
    file: Option<PathBuf>,
    /// Dotted key → the source over the file that set it.
    overrides: BTreeMap<String, Origin>,
}

impl Merged {
    pub(super) fn add_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        self.table = text
            .parse()
            .map_err(|error: toml::de::Error| ConfigError::Syntax {
                origin: Origin::File(path.to_owned()),
                message: error.to_string(),
            })?;
        self.file = Some(path.to_owned());
        Ok(())
    }

    pub(super) fn add_environment(
        &mut self,
        service: &str,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        let prefix = format!("SEALPOST_{}__", service.to_uppercase().replace('-', "_"));
        let mut ours: Vec<_> = variables
            .filter(|(name, _)| name.starts_with(&prefix))
            .collect();
        ours.sort();
        for (name, value) in ours {
            let path = name[prefix.len()..].to_lowercase();
            let path: Vec<&str> = path.split("__").collect();
            self.put(&path, &value, &Origin::Environment(name.clone()))?;
        }
        Ok(())
    }

    pub(super) fn add_sets(&mut self, sets: &[String]) -> Result<(), ConfigError> {
        for set in sets {
            let Some((path, value)) = set.split_once('=') else {
                return Err(ConfigError::Syntax {
                    origin: Origin::Set,
                    message: "expected KEY.PATH=VALUE".to_owned(),
                });
            };
            let path: Vec<&str> = path.trim().split('.').collect();
            self.put(&path, value, &Origin::Set)?;
        }
        Ok(())
    }

    pub(super) fn parse<T: DeserializeOwned>(self) -> Result<T, ConfigError> {
        let value = Value::Table(self.table.clone());
        serde_path_to_error::deserialize(value).map_err(|error| {
            let key = error.path().to_string();
            ConfigError::Key {
                origin: self.origin_of(&key),
                message: first_line(&error.into_inner().to_string()),
                key,
            }
        })
    }

    fn put(&mut self, path: &[&str], value: &str, origin: &Origin) -> Result<(), ConfigError> {
        let refuse = |message: String| ConfigError::Syntax {
            origin: origin.clone(),
            message,
        };
        let dotted = path.join(".");
        let Some((last, sections)) = path.split_last() else {
            return Err(refuse("the key is empty".to_owned()));
        };
        if path.iter().any(|part| part.is_empty()) {
            return Err(refuse(format!("key `{dotted}` has an empty part")));
        }
        let mut table = &mut self.table;
        for section in sections {
            let entry = table
                .entry((*section).to_owned())
                .or_insert_with(|| Value::Table(Table::new()));
            table = match entry {
                Value::Table(inner) => inner,
                _ => return Err(refuse(format!("key `{dotted}`: `{section}` is no section"))),
            };
        }
        table.insert((*last).to_owned(), value_of(value));
        self.overrides.insert(dotted, origin.clone());
        Ok(())
    }

    /// The source of `key`, or of the nearest key above or below it that an override set, or else the file.
    fn origin_of(&self, key: &str) -> Origin {
        if !self.contains(key) {
            return Origin::Nowhere;
        }
        let related = |other: &str| {
            let (short, long) = if other.len() < key.len() {
                (other, key)
            } else {
                (key, other)
            };
            long == short || (long.starts_with(short) && long[short.len()..].starts_with('.'))
        };
        let set = self.overrides.iter().find(|(other, _)| related(other));
        match (set, &self.file) {
            (Some((_, origin)), _) => origin.clone(),
            (None, Some(path)) => Origin::File(path.clone()),
            (None, None) => Origin::Nowhere,
        }
    }

    fn contains(&self, key: &str) -> bool {
        let mut table = Some(&self.table);
        for part in key.split('.') {
            // Inside an array the path leaves the tables: its source is the array's.
            let part = part.split('[').next().unwrap_or(part);
            let Some(value) = table.and_then(|inner| inner.get(part)) else {
                return false;
            };
            table = value.as_table();
            if value.is_array() {
                return true;
            }
        }
        true
    }
}

/// Reads `text` as a TOML value, or else as the plain string it is. A date stays text: no setting is a date.
fn value_of(text: &str) -> Value {
    let parsed = format!("value = {text}")
        .parse::<Table>()
        .ok()
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("value"));
    match parsed {
        Some(Value::Datetime(_)) | None => Value::String(text.to_owned()),
        Some(value) => value,
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Example {
        name: String,
        server: Section,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Section {
        listen: String,
        #[serde(default)]
        limit: u32,
    }

    const FILE: &str = "name = 'a'\n[server]\nlisten = '127.0.0.1:1'\nlimit = 1\n";

    fn merged(
        file: &str,
        environment: &[(&str, &str)],
        sets: &[&str],
    ) -> Result<Example, ConfigError> {
        let mut merged = Merged::default();
        merged.add_file(Path::new("a.toml"), file)?;
        let variables = environment
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        merged.add_environment("key-vault", variables)?;
        merged.add_sets(&sets.iter().map(|set| (*set).to_owned()).collect::<Vec<_>>())?;
        merged.parse()
    }

    #[test]
    fn the_environment_overrides_the_file_and_set_overrides_both() {
        let found = merged(
            FILE,
            &[
                ("SEALPOST_KEY_VAULT__SERVER__LIMIT", "2"),
                ("SEALPOST_KEY_VAULT__SERVER__LISTEN", "127.0.0.1:2"),
                ("SEALPOST_GATEWAY__SERVER__LIMIT", "9"),
            ],
            &["server.limit=3"],
        )
        .unwrap();
        assert_eq!(found.server.listen, "127.0.0.1:2");
        assert_eq!(found.server.limit, 3);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_name_and_source() {
        let error = merged(&format!("{FILE}lisen = 1\n"), &[], &[]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("server.lisen") && text.contains("file a.toml"),
            "{text}"
        );

        let error = merged(FILE, &[("SEALPOST_KEY_VAULT__SEVER__LIMIT", "1")], &[]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("sever") && text.contains("SEALPOST_KEY_VAULT__SEVER__LIMIT"),
            "{text}"
        );

        let error = merged(FILE, &[], &["server.lmit=1"]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("server.lmit") && text.contains("--set"),
            "{text}"
        );
    }

    #[test]
    fn an_ill_typed_value_names_the_source_that_brought_it() {
        let error = merged(FILE, &[], &["server.limit=many"]).unwrap_err();
        assert!(matches!(
            error,
            ConfigError::Key { key, origin: Origin::Set, .. } if key == "server.limit"
        ));
    }

    #[test]
    fn a_missing_key_has_no_source() {
        let error = merged("name = 'a'", &[], &[]).unwrap_err();
        assert!(error.to_string().contains("server"), "{error}");
    }

    #[test]
    fn text_that_is_no_toml_is_a_string_and_quoted_numbers_stay_text() {
        assert_eq!(value_of("127.0.0.1:1"), Value::String("127.0.0.1:1".into()));
        assert_eq!(value_of("2026-01-01"), Value::String("2026-01-01".into()));
        assert_eq!(value_of("'12'"), Value::String("12".into()));
        assert_eq!(value_of("12"), Value::Integer(12));
        assert_eq!(
            value_of("1\nother = 2"),
            Value::String("1\nother = 2".into())
        );
    }
}
