//! `sealpost down`: takes a suite's databases and roles off the PostgreSQL server that `sealpost up` made them on.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use sealpost_database::DatabaseUrl;
use serde_json::json;

use crate::output::Output;
use crate::suite::databases;
use crate::suite::layout::Layout;
use crate::suite::run_file::RunFile;

/// Remove the databases and roles that `sealpost up --database postgres://…` made, and all that is in them
#[derive(Args)]
pub struct Down {
    /// Folder of the suite, which must be stopped; its files stay
    #[arg(long, default_value = "sealpost-dev")]
    dir: PathBuf,
    /// The server, as a role with CREATEDB and CREATEROLE
    // Read later: clap repeats what it cannot read, and this can hold a password.
    #[arg(
        long,
        value_name = "URL",
        env = "SEALPOST_UP_DATABASE",
        hide_env_values = true
    )]
    database: String,
}

impl Down {
    /// Removes them; what is gone already is no error.
    pub async fn run(self, output: Output) -> anyhow::Result<()> {
        let layout = Layout::new(&self.dir)?;
        if layout.run_file().exists() {
            for (name, entry) in RunFile::load(&layout.run_file())?.services {
                if let Some(pid) = entry.running() {
                    bail!("{name} runs (pid {pid}): stop the suite first");
                }
            }
        }
        let url: DatabaseUrl = self.database.parse()?;
        let count = databases::remove(&layout, &url).await?;
        output.say(
            &format!("{count} databases and their roles are gone"),
            &json!({"removed": count}),
        )
    }
}
