//! The public keys of a business, as an operator gets them: files of raw bytes or of hexadecimal text.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use sealpost_envelope::{
    HPKE_PUBLIC_KEY_LEN, HpkePublicKey, HpkeSecretKey, Secret, SigningKey, VerifyingKey,
};
use zeroize::Zeroizing;

use super::access::Access;
use crate::suite::run_file::Business;

/// Which public keys.
#[derive(Args)]
pub struct PublicKeyArgs {
    /// File with the business's HPKE public key (X-Wing, 1,216 bytes, raw or hex) [default: the suite's own business]
    #[arg(long, value_name = "FILE", requires = "signing_public_key")]
    hpke_public_key: Option<PathBuf>,
    /// File with the business's signing public key (Ed25519, 32 bytes, raw or hex)
    #[arg(long, value_name = "FILE", requires = "hpke_public_key")]
    signing_public_key: Option<PathBuf>,
}

/// Checked public keys.
pub struct PublicKeys {
    /// X-Wing, 1,216 bytes.
    pub hpke: Vec<u8>,
    /// Ed25519, 32 bytes.
    pub signing: Vec<u8>,
}

impl PublicKeyArgs {
    /// Reads and checks them. Without files, those of the suite's first business.
    pub fn load(&self, access: &Access) -> anyhow::Result<PublicKeys> {
        let (Some(hpke), Some(signing)) = (&self.hpke_public_key, &self.signing_public_key) else {
            let Some(suite) = access.suite() else {
                bail!("give --hpke-public-key and --signing-public-key");
            };
            return of_suite(&suite.run.business);
        };
        let hpke = read(hpke, HPKE_PUBLIC_KEY_LEN)?;
        let signing = read(signing, 32)?;
        HpkePublicKey::from_bytes(&hpke).context("the HPKE public key")?;
        let bytes = signing.as_slice().try_into()?;
        VerifyingKey::from_bytes(bytes).context("the signing public key")?;
        Ok(PublicKeys { hpke, signing })
    }
}

fn of_suite(business: &Business) -> anyhow::Result<PublicKeys> {
    let hpke = HpkeSecretKey::from_seed(&seed(&business.hpke_private_key)?)?;
    let signing = SigningKey::from_seed(&seed(&business.signing_private_key)?);
    Ok(PublicKeys {
        hpke: hpke.public_key().to_bytes(),
        signing: signing.verifying_key().as_bytes().to_vec(),
    })
}

fn seed(path: &Path) -> anyhow::Result<Secret<32>> {
    let bytes = Zeroizing::new(std::fs::read(path).with_context(|| path.display().to_string())?);
    Secret::from_slice(&bytes).with_context(|| format!("{} must hold 32 bytes", path.display()))
}

fn read(path: &Path, len: usize) -> anyhow::Result<Vec<u8>> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    decode(&bytes, len)
        .with_context(|| format!("{} must hold {len} bytes, raw or as hex", path.display()))
}

fn decode(bytes: &[u8], len: usize) -> Option<Vec<u8>> {
    if bytes.len() == len {
        return Some(bytes.to_vec());
    }
    let decoded = hex::decode(bytes.trim_ascii()).ok()?;
    (decoded.len() == len).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_holds_raw_bytes_or_hex() {
        assert_eq!(decode(&[7; 32], 32), Some(vec![7; 32]));
        let text = format!("{}\n", hex::encode([7; 32]));
        assert_eq!(decode(text.as_bytes(), 32), Some(vec![7; 32]));
        assert_eq!(decode(&[7; 31], 32), None);
        assert_eq!(decode(b"zz", 1), None);
    }
}
