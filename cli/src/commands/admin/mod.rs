//! `sealpost admin`: what an operator does, one file a family. Every call is made with the operator's certificate.

mod access;
mod business;
mod chaos;
mod clock;
mod consumer;
mod erase;
mod export;
mod number;
mod number_move;
mod public_key;
mod receipt;
mod removal;
mod retention;
pub mod seal;
mod status;
mod subscription;
mod token;
mod vault;
mod whose;

use clap::{Args, Subcommand};

use crate::output::Output;
use access::AccessArgs;

const EXAMPLES: &str = "Examples:
  sealpost admin status --dir sealpost-dev
  sealpost admin number set-retention 106540352242922 2h --dir sealpost-dev
  sealpost admin erase --phone 15550200000 --all --dir sealpost-dev
  sealpost admin export --phone 15550200000 --number 106540352242922 --out person.export
  sealpost admin retention run --dry-run \\
      --address retention=10.0.0.9:7004 --cert operator.pem --key operator.key --ca ca.pem";

/// Operate the services: businesses, numbers, tokens, retention, erasure, health
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Admin {
    #[command(flatten)]
    access: AccessArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Businesses
    #[command(subcommand)]
    Business(business::Business),
    /// Numbers of businesses
    #[command(subcommand)]
    Number(number::Number),
    /// Consumers' registrations at the relay
    #[command(subcommand)]
    Consumer(consumer::Consumer),
    /// Programs' subscriptions to events
    #[command(subcommand)]
    Subscription(subscription::Subscription),
    /// Access tokens for the gateway
    #[command(subcommand)]
    Token(token::Token),
    /// The key vault: its seal, its view of a number, its clock
    #[command(subcommand)]
    Vault(vault::Vault),
    Erase(erase::Erase),
    Export(export::Export),
    /// Runs of the retention jobs, and receipts of destruction
    #[command(subcommand)]
    Retention(retention::Retention),
    /// The clock of a suite started with `up --clock-file`
    #[command(subcommand)]
    Clock(clock::ClockCommand),
    Status(status::Status),
    Chaos(chaos::Chaos),
}

impl Admin {
    /// Does it.
    pub async fn run(self, output: Output) -> anyhow::Result<()> {
        // Chaos may make a suite of its own: there is none to open yet.
        let access = || self.access.open();
        match self.command {
            Command::Business(command) => command.run(&access()?, output).await,
            Command::Number(command) => command.run(&access()?, output).await,
            Command::Consumer(command) => command.run(&access()?, output).await,
            Command::Subscription(command) => command.run(&access()?, output).await,
            Command::Token(command) => command.run(&access()?, output).await,
            Command::Vault(command) => command.run(&access()?, output).await,
            Command::Erase(command) => command.run(&access()?, output).await,
            Command::Export(command) => command.run(&access()?, output).await,
            Command::Retention(command) => command.run(&access()?, output).await,
            Command::Clock(command) => command.run(&access()?, output).await,
            Command::Status(command) => command.run(&access()?, output).await,
            Command::Chaos(command) => command.run(self.access.folder()?, output).await,
        }
    }
}
