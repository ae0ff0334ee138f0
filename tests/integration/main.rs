//! Everything that needs two processes, or the whole workspace, to be seen. `tests/README.md` says what each file proves.

#![allow(missing_docs, clippy::unwrap_used)]

mod adversary;
mod at_rest;
mod bench;
mod chaos;
mod clocks;
mod contents;
mod conversation;
mod crash;
mod deploy;
mod devices;
mod disk;
mod erasure;
mod expiry;
mod export;
mod failpoints;
mod garbage;
mod hops;
mod instances;
mod interop;
mod lapse;
mod memory;
mod postgres;
mod python_business;
mod removal;
mod replicas;
mod requests;
mod residency;
mod restart;
mod retention_page;
mod retransmission;
mod roles;
mod secrecy;
mod simulation;
mod slow;

mod standing;
mod stolen_backup;
mod tokens;
mod trees;
mod unseal;
mod walls;

use std::time::Duration;

/// How long something may take that is on its way already.
const SOON: Duration = Duration::from_secs(30);
/// How long something may take after services were away: retries back off.
const LATER: Duration = Duration::from_secs(90);
