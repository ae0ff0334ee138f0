//! The services that a suite is made of, in the order in which they start.

use std::fmt;

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

    /// Its name; also that of its first instance.
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

    /// Services that it calls, and cannot serve without.
    pub const fn needs(self) -> &'static [Self] {
        match self {
            Self::Gateway => &[Self::Directory, Self::KeyVault, Self::Store, Self::Relay],
            Self::Connector => &[Self::Gateway],
            _ => &[],
        }
    }

    /// Whether it keeps anything.
    pub const fn has_database(self) -> bool {
        !matches!(self, Self::Gateway)
    }

    /// Whether there may be several of it: the business runs one connector.
    pub const fn has_replicas(self) -> bool {
        !matches!(self, Self::Connector)
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
