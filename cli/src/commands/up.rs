//! `sealpost up`: a whole suite on this machine.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{anyhow, ensure};
use clap::Args;
use sealpost_runtime::shutdown;
use serde_json::json;

use crate::output::Output;
use crate::suite::configs::Choices;
use crate::suite::instance::Region;
use crate::suite::layout::Layout;
use crate::suite::roster::Roster;
use crate::suite::run_file::RunFile;
use crate::suite::supervisor::Supervisor;
use crate::suite::up::{self, Size};

/// Make and run a whole suite on this machine, for development, until Ctrl-C
#[derive(Args)]
pub struct Up {
    /// Folder of the suite: certificates, configuration, databases, logs and run.json
    #[arg(long, default_value = "sealpost-dev")]
    dir: PathBuf,
    /// Where the connector posts webhooks
    #[arg(long)]
    webhook: Option<String>,
    /// Where the services keep their databases: sqlite:///absolute/folder for one file each, or
    /// postgres://user[:password]@host:port/database of a role with CREATEDB and CREATEROLE, which makes a database and two roles
    /// for each service (`sealpost down` removes them) [default: files in DIR, or what DIR has already]
    // Read later: clap repeats what it cannot read, and this can hold a password.
    #[arg(
        long,
        value_name = "URL",
        env = "SEALPOST_UP_DATABASE",
        hide_env_values = true
    )]
    database: Option<String>,
    /// Let services refuse a PostgreSQL server that names no synchronous standby
    #[arg(long)]
    require_synchronous_standby: bool,
    /// Processes of each service but the connector; more than one needs PostgreSQL
    #[arg(long, default_value_t = 1)]
    replicas: u32,
    /// Numbers of the first business
    #[arg(long, default_value_t = 1)]
    numbers: usize,
    /// Regions with a store each, such as eu,na: store-eu and store-na; numbers are spread over them [default: those that the
    /// folder was made with, or one store for all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    regions: Vec<Region>,
    /// Registered consumers
    #[arg(long, default_value_t = 2)]
    consumers: usize,
    /// Messages a second that each number may send; none by default
    #[arg(long, default_value_t = 0)]
    rate_limit: u32,
    /// Let every clock follow DIR/clock, the seconds to add (see `sealpost admin clock`)
    #[arg(long)]
    clock_file: bool,
    /// Start processes again that end by themselves
    #[arg(long)]
    supervise: bool,
}

impl Up {
    /// Runs until Ctrl-C or SIGTERM.
    pub async fn run(self, output: Output) -> anyhow::Result<()> {
        ensure!(
            (1..=10_000).contains(&self.numbers),
            "--numbers is 1 to 10,000"
        );
        ensure!(self.consumers <= 10_000, "--consumers is at most 10,000");
        ensure!((1..=16).contains(&self.replicas), "--replicas is 1 to 16");
        let asked = self.database.as_deref().map(str::parse).transpose();
        let database = asked.map_err(|error: String| anyhow!("--database: {error}"))?;
        let layout = Layout::new(&self.dir)?;
        let choices = Choices {
            rate_limit: self.rate_limit,
            webhook: self.webhook.clone(),
            clock_file: self.clock_file,
            database,
            require_synchronous_standby: self.require_synchronous_standby,
        };
        let mut once = BTreeSet::new();
        ensure!(
            self.regions.iter().all(|region| once.insert(region)),
            "--regions names one twice"
        );
        let size = Size {
            roster: Roster {
                regions: self.regions.clone(),
                replicas: self.replicas,
            },
            numbers: self.numbers,
            consumers: self.consumers,
        };
        let stop = shutdown::on_signals()?;
        let mut supervisor = Supervisor::new(&layout, output);

        let started = tokio::select! {
            started = up::up(&layout, &size, &choices, &mut supervisor, output) => Some(started),
            () = stop.cancelled() => None,
        };
        let ran = match started {
            Some(Ok(run)) => {
                announce(output, &layout, &run)?;
                supervisor.watch(self.supervise, stop.cancelled()).await
            }
            Some(Err(error)) => Err(error),
            None => Ok(()),
        };
        output.note("stopping");
        supervisor.stop_all()?;
        ran
    }
}

fn announce(output: Output, layout: &Layout, run: &RunFile) -> anyhow::Result<()> {
    let dir = layout.root().display();
    let number = &run.numbers[0];
    let consumer = run
        .consumers
        .first()
        .map_or("CONSUMER", |consumer| consumer.phone_number.as_str());
    let words = format!(
        "\nThe suite runs. Everything needed to use it is in {dir}/run.json.\n\n\
         Send a message as the business:\n  \
         curl -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' \\\n    \
         -d '{{\"messaging_product\":\"whatsapp\",\"to\":\"{consumer}\",\"type\":\"text\",\"text\":{{\"body\":\"Hello\"}}}}' \\\n    \
         {url}/{id}/messages\n\n\
         Read and answer as the consumer:\n  sealpost chat --dir {dir} --as {consumer}\n\n\
         See events as the business:\n  sealpost listen --dir {dir}\n\n\
         Ctrl-C stops everything.",
        token = run.connector.token,
        url = run.connector.url,
        id = number.phone_number_id,
    );
    output.say(&words, &json!({"run_file": layout.run_file()}))
}
