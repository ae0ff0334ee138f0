//! The command line that every service takes.
//!
//! Owns flag names and nothing they mean; [`crate::config`] reads them.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Deserialize;

/// Flatten this into a service's own `clap::Parser`, which brings `--version` and `--help`.
///
/// ```
/// #[derive(clap::Parser)]
/// #[command(name = "sealpost-example", version)]
/// struct Arguments {
///     #[command(flatten)]
///     service: sealpost_runtime::args::ServiceArgs,
/// }
/// ```
#[derive(Args, Clone, Debug, Default)]
pub struct ServiceArgs {
    /// TOML file to read; the environment and --set come after it.
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,

    /// One key to set, such as server.listen=127.0.0.1:7001; may be repeated.
    #[arg(long = "set", value_name = "KEY.PATH=VALUE")]
    pub set: Vec<String>,

    /// Read the whole configuration, say whether it is valid, and stop.
    #[arg(long)]
    pub check_config: bool,

    /// Shape of the log lines; otherwise log.format.
    #[arg(long, value_enum)]
    pub log_format: Option<LogFormat>,
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For a person at a terminal.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}
