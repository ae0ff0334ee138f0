//! Who a peer is: its SPIFFE identity, read from its certificate.
//!
//! Owns the reading only: whoever calls [`PeerIdentity::from_certificate`] has verified the chain already, or does
//! so in the same handshake.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// What a process is, and so what it may call.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each role is the service of that name")]
pub enum Role {
    Vault,
    Gateway,
    Store,
    Retention,
    Directory,
    Relay,
    Operator,
    Auditor,
    Connector,
}

impl Role {
    /// Every role there is.
    pub const ALL: &'static [Self] = &[
        Self::Vault,
        Self::Gateway,
        Self::Store,
        Self::Retention,
        Self::Directory,
        Self::Relay,
        Self::Operator,
        Self::Auditor,
        Self::Connector,
    ];

    /// The role's name in a SPIFFE identity and in configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vault => "vault",
            Self::Gateway => "gateway",
            Self::Store => "store",
            Self::Retention => "retention",
            Self::Directory => "directory",
            Self::Relay => "relay",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
            Self::Connector => "connector",
        }
    }
}

impl FromStr for Role {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|role| role.as_str() == text)
            .ok_or(IdentityError::UnknownRole)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The realm that one authority speaks for (SPIFFE ID, section 2.1): lower-case letters, digits, `.`, `-`, `_`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TrustDomain(String);

impl TrustDomain {
    /// Its name, such as `sealpost.example`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_')
        };
        if text.is_empty() || text.len() > 255 || !text.bytes().all(allowed) {
            return Err(IdentityError::NotSpiffe);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A peer as its certificate names it: `spiffe://<trust domain>/<role>[/<name>]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The realm.
    pub trust_domain: TrustDomain,
    /// What it may do.
    pub role: Role,
    /// Which one of its role, where there are several.
    pub name: Option<String>,
    /// The certificate's serial number, as DER encodes it.
    pub serial: Vec<u8>,
    /// The DER of the certificate's issuer: a serial number means something beside it only.
    pub issuer: Vec<u8>,
    /// Last second of the certificate's validity, since the Unix epoch.
    pub not_after: u64,
}

impl PeerIdentity {
    /// Reads the identity in the certificate `der`.
    ///
    /// # Errors
    /// When it is no certificate, or has not exactly one URI name that is a SPIFFE identity of a known role
    /// (X.509-SVID, section 2).
    pub fn from_certificate(der: &[u8]) -> Result<Self, IdentityError> {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| IdentityError::NotACertificate)?;
        if !rest.is_empty() {
            return Err(IdentityError::NotACertificate);
        }
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| IdentityError::NotACertificate)?
            .ok_or(IdentityError::NotOneUri)?;
        let mut uris = names
            .value
            .general_names
            .iter()
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            });
        let (Some(uri), None) = (uris.next(), uris.next()) else {
            return Err(IdentityError::NotOneUri);
        };
        let (trust_domain, role, name) = parse_spiffe(uri)?;
        Ok(Self {
            trust_domain,
            role,
            name,
            serial: certificate.raw_serial().to_vec(),
            issuer: certificate.issuer().as_raw().to_vec(),
            not_after: u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0),
        })
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/{}", self.trust_domain, self.role)?;
        match &self.name {
            Some(name) => write!(f, "/{name}"),
            None => Ok(()),
        }
    }
}

fn parse_spiffe(uri: &str) -> Result<(TrustDomain, Role, Option<String>), IdentityError> {
    let rest = uri
        .strip_prefix("spiffe://")
        .ok_or(IdentityError::NotSpiffe)?;
    let mut parts = rest.split('/');
    let (Some(domain), Some(role), name, None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(IdentityError::NotSpiffe);
    };
    let name = name.map(|name| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.bytes().all(allowed)
        {
            return Err(IdentityError::NotSpiffe);
        }
        Ok(name.to_owned())
    });
    Ok((domain.parse()?, role.parse()?, name.transpose()?))
}

/// Why a certificate names no peer of ours.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum IdentityError {
    /// The bytes are no X.509 certificate.
    #[error("not a well-formed certificate")]
    NotACertificate,
    /// There is not exactly one URI name.
    #[error("the certificate does not have exactly one URI name")]
    NotOneUri,
    /// The URI is no identity of the expected shape.
    #[error("the URI name is not spiffe://<trust domain>/<role>[/<name>]")]
    NotSpiffe,
    /// The role is none of ours.
    #[error("unknown role")]
    UnknownRole,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::testing::Authority;

    #[test]
    fn an_identity_has_a_domain_a_role_and_maybe_a_name() {
        let (domain, role, name) = parse_spiffe("spiffe://a.test/gateway").unwrap();
        assert_eq!(
            (domain.as_str(), role, name),
            ("a.test", Role::Gateway, None)
        );
        let (_, role, name) = parse_spiffe("spiffe://a.test/vault/one").unwrap();
        assert_eq!((role, name.as_deref()), (Role::Vault, Some("one")));
    }

    #[test]
    fn what_is_not_exactly_that_shape_is_refused() {
        for uri in [
            "https://a.test/vault",
            "spiffe://a.test",
            "spiffe://a.test/",
            "spiffe:///vault",
            "spiffe://A.test/vault",
            "spiffe://a.test:1/vault",
            "spiffe://a.test/vault/",
            "spiffe://a.test/vault/one/two",
            "spiffe://a.test/vault/..",
            "spiffe://a.test/Vault",
            "spiffe://a.test/nobody",
        ] {
            assert!(parse_spiffe(uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn a_certificate_with_two_uris_or_none_is_refused() {
        let authority = Authority::new("a");
        let two = authority.leaf_with_uris(&["spiffe://a.test/vault", "spiffe://a.test/operator"]);
        let none = authority.leaf_with_uris(&[]);
        for der in [two, none] {
            assert_eq!(
                PeerIdentity::from_certificate(&der),
                Err(IdentityError::NotOneUri)
            );
        }
    }

    #[test]
    fn every_role_reads_back_from_its_name() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse::<Role>().unwrap(), *role);
        }
    }
}
