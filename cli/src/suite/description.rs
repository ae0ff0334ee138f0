//! What `run.json` says of a suite that has come up.

use std::collections::BTreeMap;

use anyhow::Context;

use super::configs::Choices;
use super::consumers;
use super::facts::Facts;
use super::instance::Instance;
use super::layout::Layout;
use super::ports::Ports;
use super::process;
use super::roster::Roster;
use super::run_file::{self, RunFile, RunningService};
use super::service::Service;

/// An instance that runs.
pub fn instance(
    layout: &Layout,
    ports: &Ports,
    instance: &Instance,
    pid: u32,
) -> anyhow::Result<RunningService> {
    let addresses = ports.of(instance)?;
    let service = instance.service();
    Ok(RunningService {
        service: service.name().to_owned(),
        region: instance.group.region.as_ref().map(ToString::to_string),
        pid: Some(pid),
        argv: process::argv(layout, instance)?,
        config: layout.config(instance),
        grpc: service.role().map(|_| addresses.main.to_string()),
        public: addresses.public.map(|address| address.to_string()),
        metrics: format!("http://{}/metrics", addresses.metrics),
        data: layout.data(instance),
        log: layout.log(instance),
    })
}

/// The whole suite.
pub fn suite(
    layout: &Layout,
    roster: &Roster,
    ports: &Ports,
    choices: &Choices,
    facts: &Facts,
    services: BTreeMap<String, RunningService>,
) -> anyhow::Result<RunFile> {
    let publics = |service| -> anyhow::Result<Vec<String>> {
        let faces = ports.publics_of(roster, service)?;
        let urls = faces.iter().map(|address| format!("https://{address}"));
        Ok(urls.collect())
    };
    let (gateways, relays) = (publics(Service::Gateway)?, publics(Service::Relay)?);
    let mut numbers = Vec::new();
    for number in &facts.numbers {
        numbers.push(run_file::Number {
            phone_number_id: number.phone_number_id.clone(),
            phone_number: number.phone_number.clone(),
            region: number.region.clone(),
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
            url: format!("http://{}", ports.of(&Service::Connector.into())?.main),
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
            url: gateways[0].clone(),
            urls: gateways,
            token: facts
                .gateway_token
                .clone()
                .context("the gateway token is issued")?,
        },
        relay: run_file::Relay {
            url: relays[0].clone(),
            urls: relays,
            codes_file: layout.codes_file(),
        },
    })
}
