//! Issuing and revoking.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevocationReason, RevokedCertParams, SanType, SerialNumber,
};
use sealpost_runtime::clock::Timestamp;
use sealpost_runtime::identity::{Role, TrustDomain};
use time::{Duration, OffsetDateTime};

use super::identity::{HostNames, Identity, stem};
use super::ledger::{Issued, Ledger};
use crate::files::{self, Readers};

/// How long the authority itself lives.
const AUTHORITY_LIFETIME: Duration = Duration::days(3650);
/// How long a revocation list is current. It is made anew by every revocation and by `sealpost pki renew-crl`.
const CRL_LIFETIME: Duration = Duration::days(30);

/// A certificate authority in a folder.
pub struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    trust_domain: TrustDomain,
}

impl Authority {
    /// Makes a new authority in an empty or absent folder.
    pub fn create(
        folder: &Path,
        trust_domain: &TrustDomain,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        files::create_folder(folder)?;
        let key_path = folder.join("ca.key");
        if key_path.exists() {
            return Err(anyhow!("{} has an authority already", folder.display()));
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&format!("Sealpost authority of {trust_domain}"));
        params.subject_alt_names =
            vec![SanType::URI(format!("spiffe://{trust_domain}").try_into()?)];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = moment(now)? - Duration::minutes(5);
        params.not_after = moment(now)? + AUTHORITY_LIFETIME;
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        files::write(&key_path, key.serialize_pem().as_bytes(), Readers::Owner)?;
        files::write(
            &folder.join("trust-domain"),
            trust_domain.as_str().as_bytes(),
            Readers::Everybody,
        )?;
        Ledger {
            next_crl: 1,
            issued: Vec::new(),
        }
        .save(&folder.join("issued.json"))?;
        files::write(
            &folder.join("ca.pem"),
            certificate.pem().as_bytes(),
            Readers::Everybody,
        )?;
        let authority = Self::open(folder)?;
        authority.renew_crl(now)?;
        Ok(authority)
    }

    /// Opens the authority in a folder.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path)
                .with_context(|| format!("no authority: {} cannot be read", path.display()))
        };
        let key = KeyPair::from_pem(&read("ca.key")?)?;
        let issuer = Issuer::from_ca_cert_pem(&read("ca.pem")?, key)?;
        let trust_domain = read("trust-domain")?
            .trim()
            .parse()
            .context("the trust domain's name is not acceptable")?;
        Ok(Self {
            folder: folder.to_owned(),
            issuer,
            trust_domain,
        })
    }

    /// The authority's certificate, PEM.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The present revocation list, PEM.
    pub fn crl(&self) -> PathBuf {
        self.folder.join("crl.pem")
    }

    /// Issues a service's or a person's certificate into `folder`: `<role>[-<name>].pem` and `.key`. Sealpost's own clients go by
    /// the SPIFFE ID alone; `names` are for ordinary gRPC clients, which check a host name.
    pub fn issue(
        &self,
        role: Role,
        given: Option<&str>,
        names: &HostNames,
        days: u32,
        folder: &Path,
        now: Timestamp,
    ) -> anyhow::Result<Identity> {
        let id = match given {
            Some(given) if is_name(given) => {
                format!("spiffe://{}/{role}/{given}", self.trust_domain)
            }
            Some(_) => return Err(anyhow!("a name is 1 to 64 of a-z, 0-9, '-', '_', '.'")),
            None => format!("spiffe://{}/{role}", self.trust_domain),
        };
        let file = stem(role, given);
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&file);
        params.subject_alt_names = names.alternative_names()?;
        params
            .subject_alt_names
            .push(SanType::URI(id.as_str().try_into()?));
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        self.sign(params, id, days, folder, &file, now)
    }

    /// Issues the certificate of a public face (server authentication by DNS name or address) into `folder`.
    pub fn issue_public(
        &self,
        file: &str,
        names: &HostNames,
        days: u32,
        folder: &Path,
        now: Timestamp,
    ) -> anyhow::Result<Identity> {
        let mut params = CertificateParams::default();
        params.distinguished_name = name(file);
        params.subject_alt_names = names.alternative_names()?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let addresses = names.addresses.iter().map(ToString::to_string);
        let subject = names
            .dns
            .iter()
            .cloned()
            .chain(addresses)
            .collect::<Vec<_>>()
            .join(",");
        self.sign(params, subject, days, folder, file, now)
    }

    /// Revokes by serial (hex) or subject, and renews the revocation list.
    pub fn revoke(&self, which: &str, now: Timestamp) -> anyhow::Result<Vec<Issued>> {
        let mut ledger = self.ledger()?;
        let revoked = ledger.revoke(which, now.as_millis())?;
        ledger.save(&self.folder.join("issued.json"))?;
        self.renew_crl(now)?;
        Ok(revoked)
    }

    /// Makes the revocation list anew, current for 30 days.
    pub fn renew_crl(&self, now: Timestamp) -> anyhow::Result<()> {
        let mut ledger = self.ledger()?;
        let number = ledger.next_crl;
        ledger.next_crl += 1;
        ledger.save(&self.folder.join("issued.json"))?;
        let mut revoked_certs = Vec::new();
        for entry in &ledger.issued {
            if let Some(at) = entry.revoked_at_ms {
                revoked_certs.push(RevokedCertParams {
                    serial_number: SerialNumber::from_slice(&hex::decode(&entry.serial)?),
                    revocation_time: moment(Timestamp::from_millis(at))?,
                    reason_code: Some(RevocationReason::Unspecified),
                    invalidity_date: None,
                });
            }
        }
        let crl = CertificateRevocationListParams {
            this_update: moment(now)? - Duration::minutes(5),
            next_update: moment(now)? + CRL_LIFETIME,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        }
        .signed_by(&self.issuer)?;
        files::write(&self.crl(), crl.pem()?.as_bytes(), Readers::Everybody)?;
        Ok(())
    }

    /// Everything issued, oldest first.
    pub fn ledger(&self) -> anyhow::Result<Ledger> {
        Ledger::load(&self.folder.join("issued.json"))
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        subject: String,
        days: u32,
        folder: &Path,
        file: &str,
        now: Timestamp,
    ) -> anyhow::Result<Identity> {
        let mut serial = [0_u8; 16];
        getrandom::fill(&mut serial)?;
        // Positive and of full length in DER (RFC 5280, section 4.1.2.2).
        serial[0] = (serial[0] & 0x7f) | 0x40;
        let not_after = moment(now)? + Duration::days(days.into());
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.not_before = moment(now)? - Duration::minutes(5);
        params.not_after = not_after;

        let mut ledger = self.ledger()?;
        ledger.issued.push(Issued {
            serial: hex::encode(serial),
            subject,
            not_after_ms: u64::try_from(not_after.unix_timestamp())? * 1000,
            revoked_at_ms: None,
        });
        ledger.save(&self.folder.join("issued.json"))?;

        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        files::create_folder(folder)?;
        let identity = Identity::of_stem(file, folder);
        files::write(
            &identity.private_key,
            key.serialize_pem().as_bytes(),
            Readers::Owner,
        )?;
        files::write(
            &identity.certificate,
            certificate.pem().as_bytes(),
            Readers::Everybody,
        )?;
        Ok(identity)
    }
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte)
        })
}

fn moment(at: Timestamp) -> anyhow::Result<OffsetDateTime> {
    Ok(OffsetDateTime::from_unix_timestamp(i64::try_from(
        at.as_secs(),
    )?)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn authority(folder: &Path) -> Authority {
        Authority::create(folder, &"sealpost.test".parse().unwrap(), NOW).unwrap()
    }

    #[test]
    fn a_second_authority_in_one_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        authority(folder.path());
        assert!(Authority::create(folder.path(), &"other.test".parse().unwrap(), NOW).is_err());
    }

    #[test]
    fn private_keys_are_readable_by_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let identity = authority(folder.path())
            .issue(
                Role::Vault,
                None,
                &HostNames::default(),
                1,
                &folder.path().join("vault"),
                NOW,
            )
            .unwrap();
        for path in [identity.private_key, folder.path().join("ca.key")] {
            assert_eq!(
                std::fs::metadata(path).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
    }

    #[test]
    fn a_revoked_subject_stands_in_the_ledger_and_not_twice() {
        let folder = tempfile::tempdir().unwrap();
        let authority = authority(folder.path());
        authority
            .issue(
                Role::Gateway,
                Some("a"),
                &HostNames::default(),
                1,
                folder.path(),
                NOW,
            )
            .unwrap();
        let subject = "spiffe://sealpost.test/gateway/a";
        assert_eq!(authority.revoke(subject, NOW).unwrap().len(), 1);
        assert!(authority.revoke(subject, NOW).is_err());
        assert!(
            Authority::open(folder.path())
                .unwrap()
                .ledger()
                .unwrap()
                .issued[0]
                .revoked_at_ms
                .is_some()
        );
    }

    #[test]
    fn a_name_that_would_leave_its_path_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(
            authority(folder.path())
                .issue(
                    Role::Store,
                    Some("../x"),
                    &HostNames::default(),
                    1,
                    folder.path(),
                    NOW
                )
                .is_err()
        );
    }
}
