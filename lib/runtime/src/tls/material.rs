//! Reads certificates, keys and revocation lists from PEM files.
//!
//! Private keys go straight into rustls' own type and are never formatted.

use std::{fs, path::Path};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject},
};

use super::TlsError;

pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = sections(path)?;
    if found.is_empty() {
        return Err(content(path, "holds no certificate"));
    }
    Ok(found)
}

pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = read(path)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| content(path, "holds no private key"))
}

pub(super) fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

pub(super) fn revocation_lists(
    path: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let found = sections(path)?;
    if found.is_empty() {
        return Err(content(path, "holds no revocation list"));
    }
    Ok(found)
}

fn sections<T: PemObject>(path: &Path) -> Result<Vec<T>, TlsError> {
    let pem = read(path)?;
    T::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|_| content(path, "is not well-formed PEM"))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::Read {
        path: path.to_owned(),
        error,
    })
}

fn content(path: &Path, message: &'static str) -> TlsError {
    TlsError::Content {
        path: path.to_owned(),
        message,
    }
}
