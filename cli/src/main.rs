//! `sealpost`: starts the services' binaries, operates them, and speaks as a business or as a consumer.

mod commands;
mod files;
mod operator;
mod output;
mod pki;
mod suite;

use clap::{Parser, Subcommand};
use output::Output;

/// Message your customers end to end encrypted, from systems that you run
#[derive(Parser)]
#[command(name = "sealpost", version)]
struct Arguments {
    /// Print one JSON value for machines instead of words
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Up(commands::up::Up),
    /// Stop one service of a running suite
    Stop(commands::control::Target),
    /// Start one service of a running suite
    Start(commands::control::Target),
    /// Stop and start one service of a running suite
    Restart(commands::control::Target),
    Pki(commands::pki::Pki),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let output = Output::new(arguments.json);
    match arguments.command {
        Command::Up(up) => up.run(output).await,
        Command::Stop(target) => target.stop(output),
        Command::Start(target) => target.start(output).await,
        Command::Restart(target) => target.restart(output).await,
        Command::Pki(pki) => pki.run(output),
    }
}
