//! What the process gives up before it holds a key: files, ports and system calls that it does not need.
//!
//! Whoever makes the vault run code of his own finds no shell to start, no file but the vault's and what it reads, no address but
//! the database's, and no call of the kernel's that the vault never makes. Owns the two lists; which folders and ports there are the
//! configuration says. Call before any thread starts: threads inherit it, those that run already do not. Nothing of it can be taken
//! back.

mod filesystem;
mod syscalls;

use std::{fmt, path::PathBuf};

use serde::Deserialize;
use thiserror::Error;

use crate::Config;

/// One of the layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// Files and ports.
    Landlock,
    /// System calls.
    Seccomp,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
        })
    }
}

type Enforce = fn(&Config) -> Result<(), String>;

/// In this order: the second takes away the calls that the first is made by.
const LAYERS: [(Layer, Enforce); 2] = [
    (Layer::Landlock, filesystem::restrict),
    (Layer::Seccomp, syscalls::restrict),
];

/// What an operator says of the containment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContainmentConfig {
    /// Layers to start without, by name.
    pub without: Vec<Layer>,
    /// Further folders and files that may be read: a token's library may have some.
    pub read: Vec<PathBuf>,
    /// Further folders and files that may be read and written: a token in software keeps its keys in one.
    pub write: Vec<PathBuf>,
    /// Further TCP ports that may be connected to: a token in the network listens on one.
    pub connect: Vec<u16>,
}

/// Why the process is not contained.
#[derive(Debug, Error)]
#[error(
    "the layer {layer} cannot be had here: {problem}; to start all the same, name it in [containment] without"
)]
pub struct Uncontained {
    /// Which.
    pub layer: Layer,
    problem: String,
}

/// Contains the process as far as the kernel lets it; answers the layers that it has not got.
#[must_use]
pub fn missing(config: &Config) -> Vec<Uncontained> {
    LAYERS
        .into_iter()
        .filter_map(|(layer, enforce)| {
            let problem = enforce(config).err()?;
            Some(Uncontained { layer, problem })
        })
        .collect()
}

/// Contains the process, as its configuration says.
///
/// # Errors
/// When a layer is missing that the configuration does not do without.
pub fn contain(config: &Config) -> Result<(), Uncontained> {
    let without = &config.containment.without;
    for (layer, enforce) in LAYERS {
        if without.contains(&layer) {
            tracing::warn!(
                name = %layer,
                reason = "UNCONTAINED",
                "started without a layer of containment"
            );
            continue;
        }
        enforce(config).map_err(|problem| Uncontained { layer, problem })?;
    }
    Ok(())
}
