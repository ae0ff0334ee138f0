//! `sealpost`: starts the services' binaries, operates them, and speaks as a business or as a consumer.

mod business;
mod commands;
mod content;
mod duration;
mod files;
mod http;
mod operator;
mod output;
mod pki;
mod running;
mod suite;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use output::Output;
use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static ALLOCATOR: sealpost_runtime::Allocator = sealpost_runtime::Allocator;

const FIRST_STEPS: &str = "First steps:
  sealpost demo                                   see a message travel, and its answer
  sealpost up                                     run a suite in ./sealpost-dev until Ctrl-C
  sealpost send --to 15550200000 --wait sent Hello
  sealpost chat --as 15550200000                  answer as the consumer";

/// Message your customers end to end encrypted, from systems that you run
#[derive(Parser)]
#[command(name = "sealpost", version, after_help = FIRST_STEPS)]
struct Arguments {
    /// Print JSON for machines instead of words
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Up(commands::up::Up),
    Down(commands::down::Down),
    /// Stop one process of a running suite
    Stop(commands::control::Target),
    /// Start one process of a running suite
    Start(commands::control::Target),
    /// Stop and start one process of a running suite
    Restart(commands::control::Target),
    Demo(commands::demo::Demo),
    Send(commands::send::Send),
    Listen(commands::listen::Listen),
    Chat(commands::chat::Chat),
    Bench(commands::bench::Bench),
    #[command(hide = true)]
    BenchDriver(commands::bench::driver::BenchDriver),
    Admin(commands::admin::Admin),
    Pki(commands::pki::Pki),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output::new(arguments.json);
    match start(arguments, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: Arguments, output: Output) -> anyhow::Result<()> {
    let runtime = match &arguments.command {
        // It shares the machine with what it measures: one thread wakes no other.
        Command::BenchDriver(_) => Builder::new_current_thread().enable_all().build()?,
        _ => Runtime::new()?,
    };
    let ran = runtime.block_on(run(arguments.command, output));
    // A read of the terminal that nobody waits for any more must not hold the process up.
    runtime.shutdown_background();
    ran
}

async fn run(command: Command, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Up(up) => up.run(output).await,
        Command::Down(down) => down.run(output).await,
        Command::Stop(target) => target.stop(output),
        Command::Start(target) => target.start(output).await,
        Command::Restart(target) => target.restart(output).await,
        Command::Demo(demo) => demo.run(output).await,
        Command::Send(send) => send.run(output).await,
        Command::Listen(listen) => listen.run(output).await,
        Command::Chat(chat) => chat.run(output).await,
        Command::Bench(bench) => bench.run(output).await,
        Command::BenchDriver(driver) => driver.run().await,
        Command::Admin(admin) => admin.run(output).await,
        Command::Pki(pki) => pki.run(output),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_has_no_contradictions() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_does() {
        fn check(command: &clap::Command) {
            let about = command.get_about().map(ToString::to_string);
            assert!(
                about.is_some_and(|about| !about.is_empty()),
                "{}",
                command.get_name()
            );
            command.get_subcommands().for_each(check);
        }
        check(&Arguments::command());
    }

    #[test]
    fn a_folder_may_stand_at_the_end_of_an_admin_command() {
        let words = "sealpost admin clock advance 31d --dir suite --json";
        assert!(Arguments::try_parse_from(words.split(' ')).is_ok());
        let back = "sealpost admin clock advance -2h --back --dir suite";
        assert!(Arguments::try_parse_from(back.split(' ')).is_ok());
    }
}
