//! The services that a suite is made of, in the order in which they start.

use std::fmt;
use std::str::FromStr;

use sealpost_runtime::identity::Role;

/// A service of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    Directory,
    KeyVault,
    Store,
    Relay,
    Retention,
    Gateway,
    Connector,
}

impl Service {
    /// Every service; the ones that others call come first.
    pub const ALL: [Self; 7] = [
        Self::Directory,
        Self::KeyVault,
        Self::Store,
        Self::Relay,
        Self::Retention,
        Self::Gateway,
        Self::Connector,
    ];

    /// Its name in `run.json` and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::KeyVault => "key-vault",
            Self::Store => "store",
            Self::Relay => "relay",
            Self::Retention => "retention",
            Self::Gateway => "gateway",
            Self::Connector => "connector",
        }
    }

    /// Its binary, beside this one.
    pub fn binary(self) -> String {
        format!("sealpost-{}", self.name())
    }

    /// The role in its certificate; the connector has none, it comes with a token.
    pub const fn role(self) -> Option<Role> {
        match self {
            Self::Directory => Some(Role::Directory),
            Self::KeyVault => Some(Role::Vault),
            Self::Store => Some(Role::Store),
            Self::Relay => Some(Role::Relay),
            Self::Retention => Some(Role::Retention),
            Self::Gateway => Some(Role::Gateway),
            Self::Connector => None,
        }
    }

    /// Whether it has a face towards the public beside its mTLS one.
    pub const fn has_public_face(self) -> bool {
        matches!(self, Self::Gateway | Self::Relay)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Service {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|service| service.name() == text)
            .ok_or_else(|| {
                let names: Vec<_> = Self::ALL.iter().map(|service| service.name()).collect();
                format!(
                    "no service is named {text:?}; there are {}",
                    names.join(", ")
                )
            })
    }
}
