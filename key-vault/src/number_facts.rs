//! What an operator sets of a number: its retention class and its business's public keys.
//!
//! Owns their bytes inside the number's row. Knows no key of the vault's.

use sealpost_envelope::{EnvelopeError, HPKE_PUBLIC_KEY_LEN, HpkePublicKey, VerifyingKey};

use crate::{epoch::Retention, layout::Reader};

const VERSION: u8 = 1;

/// The part of a number that an operator sets.
#[derive(Clone)]
pub(crate) struct Facts {
    pub(crate) retention: Retention,
    pub(crate) business: Option<BusinessKeys>,
}

/// The public keys of the business that owns the number.
#[derive(Clone)]
pub(crate) struct BusinessKeys {
    pub(crate) hpke: HpkePublicKey,
    pub(crate) signing: VerifyingKey,
}

impl BusinessKeys {
    /// Reads the two keys as an operator gives them.
    ///
    /// # Errors
    /// [`EnvelopeError::InvalidKey`].
    pub(crate) fn from_bytes(hpke: &[u8], signing: &[u8]) -> Result<Self, EnvelopeError> {
        let signing = signing.try_into().map_err(|_| EnvelopeError::InvalidKey)?;
        Ok(Self {
            hpke: HpkePublicKey::from_bytes(hpke)?,
            signing: VerifyingKey::from_bytes(signing)?,
        })
    }
}

impl Facts {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.retention.seconds().to_be_bytes());
        if let Some(keys) = &self.business {
            out.extend_from_slice(&keys.hpke.to_bytes());
            out.extend_from_slice(keys.signing.as_bytes());
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.byte()? != VERSION {
            return None;
        }
        let retention = Retention::new(reader.u32()?)?;
        let business = match reader.rest() {
            [] => None,
            keys => {
                let (hpke, signing) = keys.split_at_checked(HPKE_PUBLIC_KEY_LEN)?;
                Some(BusinessKeys::from_bytes(hpke, signing).ok()?)
            }
        };
        Some(Self {
            retention,
            business,
        })
    }
}
