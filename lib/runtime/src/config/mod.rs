//! Where a service's settings come from: a TOML file, then the environment, then `--set`.
//!
//! Later sources win key by key. An unknown key is refused wherever it stands; the error names the key and the
//! source that brought it. Secrets stay in files of their own: a setting holds their path, since errors here
//! may quote a value.

mod merge;
mod replicas;
mod shared;

use std::{
    fmt,
    io::{self, Write},
    path::PathBuf,
};

use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::args::ServiceArgs;

use merge::Merged;
pub use replicas::{HostPorts, Replicas};
pub use shared::{
    ClockConfig, HostPort, LogConfig, LogLevel, MetricsConfig, PeerConfig, PublicServerConfig,
    PublicTlsConfig, ServerConfig, TlsConfig,
};

/// Reads the settings of `service` (its bare name, such as `key-vault`).
///
/// The environment's keys are `SEALPOST_<SERVICE>__SECTION__KEY`, in capitals, `-` written as `_`. A value there
/// and after `--set` is read as TOML when it is TOML (`true`, `12`, `["a"]`), and as text otherwise.
///
/// Every struct of `T` must carry `#[serde(deny_unknown_fields)]`.
///
/// # Errors
/// When the file cannot be read, a source is not well formed, or a key is unknown, missing or ill-typed.
pub fn load<T: DeserializeOwned>(service: &str, args: &ServiceArgs) -> Result<T, ConfigError> {
    let mut merged = Merged::default();
    if let Some(path) = &args.config {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Read {
            path: path.clone(),
            error,
        })?;
        merged.add_file(path, &text)?;
    }
    // A variable that is not UTF-8 cannot be one of ours.
    let variables = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
    merged.add_environment(service, variables)?;
    merged.add_sets(&args.set)?;
    merged.parse()
}

/// For `main`, after [`load`] and the service's own checks: with `--check-config` says that the configuration is
/// valid and answers true, so that `main` returns.
#[must_use]
pub fn only_checked(args: &ServiceArgs) -> bool {
    if args.check_config {
        // Nobody reading the answer is no reason to fail the check.
        let _ = writeln!(io::stdout(), "configuration is valid");
    }
    args.check_config
}

/// Which source brought a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The file given by `--config`.
    File(PathBuf),
    /// This variable of the environment.
    Environment(String),
    /// `--set` on the command line.
    Set,
    /// No source: a key is missing.
    Nowhere,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Set => f.write_str("--set"),
            Self::Nowhere => f.write_str("no source"),
        }
    }
}

/// Why there is no usable configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {path}: {error}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// A source is not well formed.
    #[error("{origin}: {message}")]
    Syntax {
        /// Which source.
        origin: Origin,
        /// What is wrong there.
        message: String,
    },
    /// A key is unknown, missing or ill-typed.
    #[error("key `{key}` ({origin}): {message}")]
    Key {
        /// The dotted path of the key.
        key: String,
        /// Which source brought it.
        origin: Origin,
        /// What is wrong with it.
        message: String,
    },
}
