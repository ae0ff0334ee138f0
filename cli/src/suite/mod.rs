//! A whole suite on one machine, in one folder: what `sealpost up` makes, starts and describes in `run.json`.

pub mod certificates;
pub mod codes;
pub mod configs;
pub mod consumers;
pub mod databases;
pub mod description;
pub mod facts;
pub mod health;
pub mod instance;
pub mod layout;
pub mod own;
pub mod ports;
pub mod process;
pub mod provision;
pub mod roster;
pub mod run_file;
pub mod service;
pub mod supervisor;
pub mod up;
