//! Making and starting a whole suite.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use sealpost_consumer::Relay;
use sealpost_runtime::Clock;

use super::certificates;
use super::configs::{Choices, Configs};
use super::consumers;
use super::facts::Facts;
use super::health;
use super::layout::Layout;
use super::ports::Ports;
use super::process;
use super::provision;
use super::run_file::{self, RunFile, RunningService};
use super::service::Service;
use super::supervisor::Supervisor;
use crate::files;
use crate::operator::Operator;
use crate::output::Output;

/// How large a suite to make.
pub struct Size {
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
    folders(layout, choices)?;
    let ports = Ports::load_or_pick(&layout.ports_file())?;
    certificates::ensure(layout, Clock::system().now())?;
    let facts_file = layout.facts_file();
    let mut facts = Facts::load_or_start(&facts_file)?;
    provision::plan_numbers(&mut facts, size.numbers)?;
    facts.save(&facts_file)?;

    let configs = Configs {
        layout,
        ports: &ports,
        choices,
    };
    configs.write_directory()?;
    configs.write_relay()?;
    configs.write_store()?;
    configs.write_retention()?;
    configs.write_gateway()?;
    initialise(layout, Service::Relay)?;
    let bundle_key = fs::read_to_string(layout.data(Service::Relay).join("bundle.key.pub"))
        .context("the relay's public bundle key")?;
    configs.write_vault(bundle_key.trim())?;
    initialise(layout, Service::KeyVault)?;

    let issued = layout.certificates("operator");
    let (ca, crl) = (layout.pki().join("ca.pem"), layout.pki().join("crl.pem"));
    let operator = Operator::new(
        &issued.join("operator.pem"),
        &issued.join("operator.key"),
        &ca,
        Some(&crl),
    )?;

    let clock = if choices.clock_file {
        Clock::with_offset_file(layout.clock_file())
    } else {
        Clock::system()
    };

    let mut services = BTreeMap::new();
    let core = Service::ALL
        .into_iter()
        .filter(|service| *service != Service::Connector);
    for service in core.clone() {
        let pid = supervisor.start(service)?;
        services.insert(
            service.name().to_owned(),
            describe(layout, &ports, service, pid)?,
        );
    }
    for service in core {
        serving(&operator, &ports, service, &services).await?;
        output.note(&format!("{service} serves"));
        if service == Service::KeyVault {
            provision::confirm_clock(&operator, &ports, &clock).await?;
        }
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
    let pid = supervisor.start(Service::Connector)?;
    services.insert(
        Service::Connector.name().to_owned(),
        describe(layout, &ports, Service::Connector, pid)?,
    );
    serving(&operator, &ports, Service::Connector, &services).await?;
    output.note("connector serves");

    let relay_address = ports
        .of(Service::Relay)?
        .public
        .context("the relay has a public face")?
        .to_string();
    let relay = Relay::connect(
        &relay_address
            .parse()
            .map_err(|reason| anyhow::anyhow!("{reason}"))?,
        &ca,
    )?;
    for index in facts.consumers.len()..size.consumers {
        let phone = provision::consumer_number(index);
        consumers::ensure(layout, &relay, &clock, &phone).await?;
        facts.consumers.push(phone);
        facts.save(&facts_file)?;
    }

    let run = run_file(layout, &ports, choices, &facts, services)?;
    run.save(&layout.run_file())?;
    Ok(run)
}

fn refuse_second(layout: &Layout) -> anyhow::Result<()> {
    if !layout.run_file().exists() {
        return Ok(());
    }
    let run = RunFile::load(&layout.run_file())?;
    for (name, service) in &run.services {
        if let Some(pid) = service.pid {
            ensure!(
                !process::runs_as(pid, &service.argv),
                "{name} already runs here (pid {pid}): stop that suite first"
            );
        }
    }
    Ok(fs::remove_file(layout.run_file())?)
}

fn folders(layout: &Layout, choices: &Choices) -> anyhow::Result<()> {
    files::create_folder(layout.root())?;
    for service in Service::ALL {
        files::create_folder(&layout.data(service))?;
        for file in [layout.config(service), layout.log(service)] {
            files::create_folder(file.parent().context("a file has a folder")?)?;
        }
    }
    if let Some(folder) = &choices.databases {
        files::create_folder(folder)?;
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
        .arg(layout.config(service))
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

async fn serving(
    operator: &Operator,
    ports: &Ports,
    service: Service,
    services: &BTreeMap<String, RunningService>,
) -> anyhow::Result<()> {
    let running = services
        .get(service.name())
        .context("the service was started")?;
    let address = ports.of(service)?.main.to_string();
    health::until_serving(
        operator,
        service,
        &address,
        running.pid.context("the service has a pid")?,
        &running.argv,
    )
    .await
}

fn describe(
    layout: &Layout,
    ports: &Ports,
    service: Service,
    pid: u32,
) -> anyhow::Result<RunningService> {
    let addresses = ports.of(service)?;
    Ok(RunningService {
        pid: Some(pid),
        argv: process::argv(layout, service)?,
        config: layout.config(service),
        grpc: service.role().map(|_| addresses.main.to_string()),
        public: addresses.public.map(|address| address.to_string()),
        metrics: format!("http://{}/metrics", addresses.metrics),
        data: layout.data(service),
        log: layout.log(service),
    })
}

fn run_file(
    layout: &Layout,
    ports: &Ports,
    choices: &Choices,
    facts: &Facts,
    services: BTreeMap<String, RunningService>,
) -> anyhow::Result<RunFile> {
    let public = |service| -> anyhow::Result<String> {
        Ok(format!(
            "https://{}",
            ports
                .of(service)?
                .public
                .context("the service has a public face")?
        ))
    };
    let mut numbers = Vec::new();
    for number in &facts.numbers {
        numbers.push(run_file::Number {
            phone_number_id: number.phone_number_id.clone(),
            phone_number: number.phone_number.clone(),
            vault_fingerprint: number
                .vault_fingerprint
                .clone()
                .context("the number is provisioned")?,
        });
    }
    let consumers = facts
        .consumers
        .iter()
        .map(|phone| run_file::Consumer {
            phone_number: phone.clone(),
            state: consumers::state_file(layout, phone),
        })
        .collect();
    let operator = layout.certificates("operator");
    Ok(RunFile {
        services,
        connector: run_file::Connector {
            url: format!("http://{}", ports.of(Service::Connector)?.main),
            token: facts.rest_token.clone(),
            app_secret: facts.app_secret.clone(),
            verify_token: facts.verify_token.clone(),
            webhook_url: choices.webhook.clone(),
        },
        business: run_file::Business {
            id: facts.business_id.clone().context("the business is made")?,
            hpke_private_key: layout.business().join("hpke.key"),
            signing_private_key: layout.business().join("signing.key"),
            vault_fingerprint: numbers
                .first()
                .map(|number| number.vault_fingerprint.clone())
                .unwrap_or_default(),
        },
        numbers,
        consumers,
        tls: run_file::Tls {
            ca: layout.pki().join("ca.pem"),
            operator_cert: operator.join("operator.pem"),
            operator_key: operator.join("operator.key"),
        },
        gateway: run_file::Gateway {
            url: public(Service::Gateway)?,
            token: facts
                .gateway_token
                .clone()
                .context("the gateway token is issued")?,
        },
        relay: run_file::Relay {
            url: public(Service::Relay)?,
            codes_file: layout.codes_file(),
        },
    })
}
