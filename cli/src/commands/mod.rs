//! One file a command.

pub mod control;
pub mod pki;
pub mod up;
