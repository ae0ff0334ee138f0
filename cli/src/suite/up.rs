//! Making and starting a whole suite.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, bail};
use sealpost_consumer::Relay;
use sealpost_runtime::{Clock, Role};

use super::certificates;
use super::codes::NewCodes;
use super::configs::{Choices, Configs};
use super::consumers;
use super::databases::Databases;
use super::description;
use super::facts::Facts;
use super::health::{self, Health, Started};
use super::instance::Instance;
use super::layout::Layout;
use super::ports::Ports;
use super::process;
use super::provision;
use super::roster::Roster;
use super::run_file::{RunFile, RunningService};
use super::service::Service;
use super::supervisor::Supervisor;
use crate::files;
use crate::operator::Operator;
use crate::output::Output;
use crate::pki::Identity;

/// Services that start together, in the order in which they do; the connector comes last, when its business is made.
const STAGES: [&[Service]; 3] = [
    &[Service::Directory, Service::KeyVault, Service::Relay],
    &[Service::Store],
    &[Service::Retention, Service::Gateway],
];

/// How large a suite to make.
pub struct Size {
    /// Its processes. A folder that has regions keeps them when none are named.
    pub roster: Roster,
    /// Numbers of the first business.
    pub numbers: usize,
    /// Registered consumers.
    pub consumers: usize,
}

/// Makes what is missing, starts everything, and writes `run.json` once all are healthy.
pub async fn up(
    layout: &Layout,
    size: &Size,
    choices: &Choices,
    supervisor: &mut Supervisor<'_>,
    output: Output,
) -> anyhow::Result<RunFile> {
    refuse_second(layout)?;
    files::create_folder(layout.root())?;
    let facts_file = layout.facts_file();
    let mut facts = Facts::load_or_start(&facts_file)?;
    let is_used = !facts.numbers.is_empty();
    let roster = facts.settle_regions(&size.roster)?;
    provision::plan_numbers(&mut facts, &roster, size.numbers)?;
    facts.save(&facts_file)?;
    folders(layout, &roster, choices)?;
    let databases = Databases::settle(layout, &roster, choices.database.as_ref(), is_used).await?;
    let ports = Ports::load_or_pick(&layout.ports_file(), &roster)?;
    certificates::ensure(layout, &roster, Clock::system().now())?;

    let configs = Configs {
        layout,
        roster: &roster,
        ports: &ports,
        databases: &databases,
        choices,
    };
    configure(&configs, output)?;

    let operator = operator(layout)?;
    let clock = if choices.clock_file {
        Clock::with_offset_file(layout.clock_file())
    } else {
        Clock::system()
    };
    let mut starting = Starting {
        layout,
        ports: &ports,
        operator: &operator,
        output,
        services: BTreeMap::new(),
    };
    // What others call serves before they start, so that nobody knocks at a door that is still shut.
    let mut stages = STAGES
        .map(|services| roster.instances_of_all(services))
        .into_iter();
    if let Some(first) = stages.next() {
        starting.start(&first, supervisor).await?;
    }
    provision::confirm_clock(&operator, &ports, &clock).await?;
    for stage in stages {
        starting.start(&stage, supervisor).await?;
    }

    provision::business(
        layout,
        &operator,
        &ports,
        &mut facts,
        &facts_file,
        choices.rate_limit,
    )
    .await?;
    configs.write_connector(&facts)?;
    let connectors = roster.instances_of_all(&[Service::Connector]);
    starting.start(&connectors, supervisor).await?;
    register_consumers(layout, &roster, &ports, &clock, &mut facts, size.consumers).await?;

    let run = description::suite(layout, &roster, &ports, choices, &facts, starting.services)?;
    run.save(&layout.run_file())?;
    Ok(run)
}

/// Starts instances and notes what they are.
struct Starting<'a> {
    layout: &'a Layout,
    ports: &'a Ports,
    operator: &'a Operator,
    output: Output,
    services: BTreeMap<String, RunningService>,
}

impl Starting<'_> {
    /// Starts all of them at once, and waits until all serve.
    async fn start(
        &mut self,
        instances: &[Instance],
        supervisor: &mut Supervisor<'_>,
    ) -> anyhow::Result<()> {
        let mut pids = Vec::new();
        for instance in instances {
            let pid = supervisor.start(instance)?;
            let entry = description::instance(self.layout, self.ports, instance, pid)?;
            self.services.insert(instance.name(), entry);
            pids.push(pid);
        }
        for (instance, pid) in instances.iter().zip(pids) {
            let started = Started {
                instance,
                address: &self.ports.of(instance)?.main.to_string(),
                pid,
                argv: &process::argv(self.layout, instance)?,
            };
            health::wait(self.operator, &started, Health::Serving).await?;
            self.output.note(&format!("{instance} serves"));
        }
        Ok(())
    }
}

/// Writes every configuration but the connector's, and lets the relay and the vault make their own keys.
fn configure(configs: &Configs<'_>, output: Output) -> anyhow::Result<()> {
    configs.write_directories()?;
    configs.write_relays()?;
    configs.write_stores()?;
    configs.write_retentions()?;
    configs.write_gateways()?;
    initialise(configs.layout, Service::Relay)?;
    let public = configs.layout.shared(Service::Relay).join("bundle.key.pub");
    let bundle_key = fs::read_to_string(public).context("the relay's public bundle key")?;
    configs.write_vaults(bundle_key.trim(), &[])?;
    initialise(configs.layout, Service::KeyVault)?;
    // A suite for development starts all the same, and says so.
    let missing = uncontained(configs.layout)?;
    if !missing.is_empty() {
        let names = missing.join(" and ");
        output.note(&format!(
            "this machine has no {names}: the key vault starts without"
        ));
        configs.write_vaults(bundle_key.trim(), &missing)?;
    }
    Ok(())
}

/// The layers of its containment that the vault cannot have here.
fn uncontained(layout: &Layout) -> anyhow::Result<Vec<String>> {
    let asked = Command::new(process::binary(Service::KeyVault)?)
        .arg("--config")
        .arg(layout.config(&Service::KeyVault.into()))
        .arg("--check-containment")
        .output()
        .context("key-vault --check-containment")?;
    if !asked.status.success() {
        bail!(
            "key-vault --check-containment failed: {}",
            String::from_utf8_lossy(&asked.stderr).trim()
        );
    }
    let layers = String::from_utf8_lossy(&asked.stdout);
    Ok(layers.lines().map(str::to_owned).collect())
}

fn operator(layout: &Layout) -> anyhow::Result<Operator> {
    let issued = Identity::in_folder(Role::Operator, None, &layout.certificates("operator"));
    let pki = layout.pki();
    Operator::new(
        &issued.certificate,
        &issued.private_key,
        &pki.join("ca.pem"),
        Some(&pki.join("crl.pem")),
    )
}

async fn register_consumers(
    layout: &Layout,
    roster: &Roster,
    ports: &Ports,
    clock: &Clock,
    facts: &mut Facts,
    count: usize,
) -> anyhow::Result<()> {
    let relays = ports.publics_of(roster, Service::Relay)?;
    let relays: Vec<_> = relays.iter().map(ToString::to_string).collect();
    let addresses = relays.join(",").parse();
    let addresses = addresses.map_err(|reason| anyhow::anyhow!("{reason}"))?;
    let relay = Relay::connect(&addresses, &layout.pki().join("ca.pem"))?;
    let codes = NewCodes::of(&layout.codes_file());
    for index in facts.consumers.len()..count {
        let phone = provision::consumer_number(index);
        consumers::ensure(layout, &relay, &codes, clock, &phone).await?;
        facts.consumers.push(phone);
        facts.save(&layout.facts_file())?;
    }
    Ok(())
}

fn refuse_second(layout: &Layout) -> anyhow::Result<()> {
    if !layout.run_file().exists() {
        return Ok(());
    }
    let run = RunFile::load(&layout.run_file())?;
    for (name, service) in &run.services {
        if let Some(pid) = service.running() {
            bail!("{name} already runs here (pid {pid}): stop that suite first");
        }
    }
    Ok(fs::remove_file(layout.run_file())?)
}

fn folders(layout: &Layout, roster: &Roster, choices: &Choices) -> anyhow::Result<()> {
    for instance in roster.instances() {
        files::create_folder(&layout.data(&instance))?;
        for file in [layout.config(&instance), layout.log(&instance)] {
            files::create_folder(file.parent().context("a file has a folder")?)?;
        }
    }
    if choices.clock_file && !layout.clock_file().exists() {
        files::write(&layout.clock_file(), b"0\n", files::Readers::Owner)?;
    }
    Ok(())
}

/// Makes a service's own keys, once: its binary does it, no other process sees them.
fn initialise(layout: &Layout, service: Service) -> anyhow::Result<()> {
    let output = Command::new(process::binary(service)?)
        .arg("--config")
        .arg(layout.config(&service.into()))
        .arg("--init")
        .output()
        .with_context(|| format!("{service} --init"))?;
    if !output.status.success() {
        bail!(
            "{service} --init failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
