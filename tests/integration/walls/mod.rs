//! The walls of ARCHITECTURE.md as checks over cargo's own metadata and over the contracts.

mod dependencies;
mod descriptors;
mod licences;
mod metadata;
