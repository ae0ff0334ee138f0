//! Signal's steps, pure: they read a [`Draft`] of the device's state and leave their effects in it.
//!
//! Owns every call of libsignal. A failed step leaves the draft as it was, and nothing is durable before the draft is committed.

mod bundle;
mod draft;
mod prekeys;
mod step;
mod stores;

pub(crate) use bundle::Bundle;
pub(crate) use draft::{Draft, Effects};
pub(crate) use prekeys::{first_keys, refill, renewals, upload};
pub(crate) use step::{base_key, decrypt, encrypt, establish, has_session};

#[cfg(test)]
mod tests;
