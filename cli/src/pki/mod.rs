//! A certificate authority for Sealpost's services, in a folder: `ca.pem`, `ca.key`, `crl.pem` and `issued.json`.
//!
//! Made for development and small deployments; a larger one brings certificates of its own authority, of the same shape
//! (docs/decisions/0007). Private keys are written 0600 and never leave the folder that they are issued to.

mod authority;
mod business_keys;
mod identity;
mod ledger;

pub use authority::Authority;
pub use business_keys::BusinessKeys;
pub use identity::{HostNames, Identity};
