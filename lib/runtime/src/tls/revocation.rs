//! Which certificates no longer stand.
//!
//! Owns the question that every call asks again after the handshake answered it once. Without configured lists nothing
//! is revoked; with them a list past its time refuses everybody, since it no longer tells.

use std::collections::HashSet;

use rustls::pki_types::{CertificateRevocationListDer, UnixTime};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::TlsError;
use crate::identity::PeerIdentity;

/// Why a peer that once passed its handshake no longer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its certificate is on a list.
    Revoked,
    /// Its certificate's time is over.
    Expired,
    /// A list of ours is past its time.
    ListOutOfDate,
}

impl Refusal {
    /// The reason that a caller is told.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Revoked => "CERTIFICATE_REVOKED",
            Self::Expired => "CERTIFICATE_EXPIRED",
            Self::ListOutOfDate => "REVOCATION_LIST_OUT_OF_DATE",
        }
    }
}

/// The configured lists, read.
#[derive(Debug, Default)]
pub struct Revocations {
    /// (DER of the issuer, serial number).
    revoked: HashSet<(Vec<u8>, Vec<u8>)>,
    /// When the first of the lists is out of date, in seconds since the Unix epoch; none without lists.
    current_until: Option<u64>,
}

impl Revocations {
    /// Reads `lists`. Their signatures are the handshake's business: webpki checks them there.
    ///
    /// # Errors
    /// When one is not well formed.
    pub fn from_lists(lists: &[CertificateRevocationListDer<'_>]) -> Result<Self, TlsError> {
        let mut found = Self::default();
        for der in lists {
            let (_, list) = CertificateRevocationList::from_der(der.as_ref())
                .map_err(|_| TlsError::Revocations)?;
            let issuer = list.issuer().as_raw();
            for entry in list.iter_revoked_certificates() {
                found
                    .revoked
                    .insert((issuer.to_vec(), entry.raw_serial().to_vec()));
            }
            // A list that does not say how long it stands is out of date already.
            let until = list
                .next_update()
                .and_then(|time| u64::try_from(time.timestamp()).ok())
                .unwrap_or(0);
            found.current_until = Some(found.current_until.map_or(until, |first| first.min(until)));
        }
        Ok(found)
    }

    /// Whether `peer` still stands at `now`, in real seconds since the Unix epoch.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check(&self, peer: &PeerIdentity, now: u64) -> Result<(), Refusal> {
        if self.current_until.is_some_and(|until| now >= until) {
            return Err(Refusal::ListOutOfDate);
        }
        let key = (peer.issuer.clone(), peer.serial.clone());
        if self.revoked.contains(&key) {
            return Err(Refusal::Revoked);
        }
        if now > peer.not_after {
            return Err(Refusal::Expired);
        }
        Ok(())
    }
}

/// Real time, as TLS keeps it, in seconds since the Unix epoch.
pub(super) fn real_now() -> u64 {
    UnixTime::now().as_secs()
}
