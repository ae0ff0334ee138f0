//! One file or folder a command.

pub mod admin;
pub mod bench;
pub mod chat;
pub mod control;
pub mod demo;
pub mod down;
pub mod listen;
pub mod pki;
pub mod send;
pub mod up;
