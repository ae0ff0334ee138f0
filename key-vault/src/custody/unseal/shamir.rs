//! A key in n shares, any m of which make it again (Shamir 1979, over GF(2^8)).
//!
//! A share names the set it belongs to and carries a check, so that a slip of the pen and a share of another vault are told at
//! once. Which of several whole shares was forged nobody can tell: then the key that they make opens nothing.

use std::{fmt, str::FromStr};

use blahaj::Sharks;
use sealpost_envelope::{Entropy, OsEntropy, Secret, aead::AeadKey, kdf::sha256};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::UnsealError;

/// How a share's text begins.
const PREFIX: &str = "sealpost-share-1-";
const CHECK_DOMAIN: &[u8] = b"sealpost/share/v1";
const SET: usize = 8;
/// Set, place, 32 bytes.
const BODY: usize = SET + 1 + 32;
const CHECK: usize = 4;

/// The public parameters of one set.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(super) struct Sharing {
    #[serde(with = "hex::serde")]
    set: [u8; SET],
    shares: u8,
    threshold: u8,
}

/// One person's share. Wiped when it is dropped.
#[derive(Clone)]
pub struct Share {
    set: [u8; SET],
    /// From 1, which place it has in its set; then its 32 bytes.
    point: Zeroizing<[u8; 33]>,
}

impl Sharing {
    /// A fresh key in shares.
    ///
    /// # Errors
    /// When the numbers make no sense.
    pub(super) fn split(
        shares: u8,
        threshold: u8,
    ) -> Result<(Self, AeadKey, Vec<Share>), UnsealError> {
        if threshold < 2 || threshold > shares {
            return Err(UnsealError::Unfit(
                "the threshold is 2 at least, and not more than there are shares (255 at most)",
            ));
        }
        let key = Secret::<32>::generate(&mut OsEntropy)?;
        let mut set = [0; SET];
        OsEntropy.fill(&mut set)?;
        let made = Sharks(threshold)
            .dealer(key.expose())
            .take(usize::from(shares))
            .map(|share| {
                let bytes = Zeroizing::new(Vec::from(&share));
                let mut point = Zeroizing::new([0; 33]);
                point.copy_from_slice(&bytes);
                Share { set, point }
            })
            .collect();
        let sharing = Self {
            set,
            shares,
            threshold,
        };
        Ok((sharing, AeadKey::new(key), made))
    }

    /// How many there are, and how many are needed.
    pub(super) fn counts(&self) -> (u8, u8) {
        (self.shares, self.threshold)
    }

    pub(super) fn has(&self, share: &Share) -> bool {
        share.set == self.set && (1..=self.shares).contains(&share.place())
    }

    /// The key that these shares make, right or wrong.
    ///
    /// # Errors
    /// [`UnsealError::Refused`] when they are too few.
    pub(super) fn combine(&self, shares: &[Share]) -> Result<AeadKey, UnsealError> {
        let points: Result<Vec<_>, _> = shares
            .iter()
            .filter(|share| self.has(share))
            .map(|share| blahaj::Share::try_from(share.point.as_slice()))
            .collect();
        let points = points.map_err(|_| UnsealError::Refused)?;
        let key = Sharks(self.threshold)
            .recover(&points)
            .map(Zeroizing::new)
            .map_err(|_| UnsealError::Refused)?;
        Ok(AeadKey::new(Secret::from_slice(&key)?))
    }
}

impl Share {
    /// Its place in the set, from 1.
    #[must_use]
    pub fn place(&self) -> u8 {
        self.point[0]
    }

    /// Whether it is the very same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.set == other.set && self.point == other.point
    }

    /// As its holder writes it down.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(BODY + CHECK));
        bytes.extend_from_slice(&self.set);
        bytes.extend_from_slice(self.point.as_slice());
        let check = check_of(&bytes);
        bytes.extend_from_slice(&check);
        let hex = Zeroizing::new(hex::encode(bytes.as_slice()));
        Zeroizing::new(format!("{PREFIX}{}", hex.as_str()))
    }
}

/// Says nothing of the share.
impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").finish_non_exhaustive()
    }
}

impl FromStr for Share {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = text
            .trim()
            .strip_prefix(PREFIX)
            .ok_or("a share begins with sealpost-share-1-")?;
        let mut bytes = Zeroizing::new([0; BODY + CHECK]);
        hex::decode_to_slice(hex, bytes.as_mut_slice())
            .map_err(|_| "a share has 90 hex digits after its beginning")?;
        let (body, check) = bytes.split_at(BODY);
        if check != check_of(body) {
            return Err("the share was not written down right: its check does not fit");
        }
        let (set, point) = body.split_at(SET);
        let mut share = Self {
            set: [0; SET],
            point: Zeroizing::new([0; 33]),
        };
        share.set.copy_from_slice(set);
        share.point.copy_from_slice(point);
        Ok(share)
    }
}

fn check_of(body: &[u8]) -> [u8; CHECK] {
    let mut digest = sha256(&[CHECK_DOMAIN, body]);
    let mut check = [0; CHECK];
    check.copy_from_slice(&digest[..CHECK]);
    digest.zeroize();
    check
}
