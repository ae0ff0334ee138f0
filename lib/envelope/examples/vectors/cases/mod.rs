//! The vectors themselves, shared by the generator and the test that compares.

mod edit;
mod make;
mod refused_messages;
mod refused_statements;
mod refused_wraps;

pub(crate) mod document;
pub(crate) use make::document;
