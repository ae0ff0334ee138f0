//! Makes the first business, its numbers and its consumers in running services. Every step may be repeated: what is there
//! already is left as it is.

use std::path::Path;

use anyhow::Context;
use sealpost_proto::directory::v1::{
    CreateBusinessRequest, CreateNumberRequest, IssueTokenRequest, Number, Scope,
    SetBusinessKeysRequest,
};
use sealpost_proto::relay::v1::{
    RegisterNumberRequest, SetNumberRetentionRequest,
    platform_service_client::PlatformServiceClient,
};
use sealpost_proto::vault::v1::{
    ConfirmClockRequest, GetNumberRequest, ProvisionNumberRequest,
    key_vault_service_client::KeyVaultServiceClient,
};
use sealpost_runtime::Clock;
use tonic::Code;
use tonic::transport::Channel;

use super::facts::{Facts, NumberFacts};
use super::layout::Layout;
use super::ports::Ports;
use super::roster::Roster;
use super::service::Service;
use crate::operator::{Operator, explain};
use crate::pki::BusinessKeys;

/// The business phone numbers of a development suite start here (a range kept for fiction).
const FIRST_BUSINESS_NUMBER: u64 = 15_550_100_000;
/// And those of its consumers here.
const FIRST_CONSUMER_NUMBER: u64 = 15_550_200_000;

/// Plans `count` numbers: ids are chosen before anything is asked of a service, so that a repeat asks for the same ones.
pub fn plan_numbers(facts: &mut Facts, roster: &Roster, count: usize) -> anyhow::Result<()> {
    while facts.numbers.len() < count {
        let index = facts.numbers.len();
        let mut random = [0; 8];
        getrandom::fill(&mut random)?;
        let id = 100_000_000_000_000 + u64::from_be_bytes(random) % 900_000_000_000_000;
        facts.numbers.push(NumberFacts {
            phone_number_id: id.to_string(),
            phone_number: (FIRST_BUSINESS_NUMBER + u64::try_from(index)?).to_string(),
            region: roster.region_of_number(index).to_owned(),
            vault_fingerprint: None,
        });
    }
    Ok(())
}

/// The phone number of the consumer at `index`.
pub fn consumer_number(index: usize) -> String {
    (FIRST_CONSUMER_NUMBER + index as u64).to_string()
}

/// Confirms the vault's clock: whoever starts a development suite is its operator, and it may have stood still for days.
pub async fn confirm_clock(
    operator: &Operator,
    ports: &Ports,
    clock: &Clock,
) -> anyhow::Result<()> {
    let mut vault = operator.vault(&ports.of(&Service::KeyVault.into())?.main.to_string())?;
    let request = ConfirmClockRequest {
        now_ms: clock.now().as_millis(),
    };
    vault
        .confirm_clock(request)
        .await
        .map_err(|status| explain(&status))?;
    Ok(())
}

/// Tells the relay a number's class again: whoever changed it may have been cut off between vault and relay.
async fn tell_retention(
    vault: &mut KeyVaultServiceClient<Channel>,
    relay: &mut PlatformServiceClient<Channel>,
    phone_number_id: String,
) -> anyhow::Result<()> {
    let request = GetNumberRequest {
        phone_number_id: phone_number_id.clone(),
    };
    let facts = vault
        .get_number(request)
        .await
        .map_err(|status| explain(&status))?
        .into_inner();
    let request = SetNumberRetentionRequest {
        phone_number_id,
        retention_seconds: facts.retention_seconds,
    };
    relay
        .set_number_retention(request)
        .await
        .map_err(|status| explain(&status))?;
    Ok(())
}

/// Makes the business, its numbers and its token where they are missing. `facts_file` is written after each step.
pub async fn business(
    layout: &Layout,
    operator: &Operator,
    ports: &Ports,
    facts: &mut Facts,
    facts_file: &Path,
    messages_per_second: u32,
) -> anyhow::Result<()> {
    let keys = BusinessKeys::load_or_make(&layout.business())?;
    let (hpke_public, signing_public) = (keys.hpke_public, keys.signing_public);
    let mut directory =
        operator.directory(&ports.of(&Service::Directory.into())?.main.to_string())?;
    let mut vault = operator.vault(&ports.of(&Service::KeyVault.into())?.main.to_string())?;
    let mut relay = operator.relay(&ports.of(&Service::Relay.into())?.main.to_string())?;

    if facts.business_id.is_none() {
        let request = CreateBusinessRequest {
            name: "First business".to_owned(),
        };
        let made = directory
            .create_business(request)
            .await
            .map_err(|status| explain(&status))?
            .into_inner();
        facts.business_id = Some(
            made.business
                .context("the directory made no business")?
                .business_id,
        );
        facts.save(facts_file)?;
    }
    let business_id = facts
        .business_id
        .clone()
        .context("the business has an id")?;
    let request = SetBusinessKeysRequest {
        business_id: business_id.clone(),
        hpke_public_key: hpke_public.clone().into(),
        signing_public_key: signing_public.clone().into(),
    };
    directory
        .set_business_keys(request)
        .await
        .map_err(|status| explain(&status))?;

    for index in 0..facts.numbers.len() {
        let number = facts.numbers[index].clone();
        if number.vault_fingerprint.is_some() {
            tell_retention(&mut vault, &mut relay, number.phone_number_id).await?;
            continue;
        }
        let display_name = format!("First business, line {}", index + 1);
        let request = CreateNumberRequest {
            number: Some(Number {
                phone_number_id: number.phone_number_id.clone(),
                phone_number: number.phone_number.clone(),
                business_id: business_id.clone(),
                region: number.region.clone(),
                display_name: display_name.clone(),
                messages_per_second,
                created_at_ms: 0,
                moving_to: String::new(),
            }),
        };
        match directory.create_number(request).await {
            Ok(_) => {}
            Err(status) if status.code() == Code::AlreadyExists => {}
            Err(status) => return Err(explain(&status)),
        }
        let request = ProvisionNumberRequest {
            phone_number_id: number.phone_number_id.clone(),
            retention_seconds: 0,
            business_hpke_public_key: hpke_public.clone().into(),
            business_signing_public_key: signing_public.clone().into(),
        };
        let provisioned = vault
            .provision_number(request)
            .await
            .map_err(|status| explain(&status))?
            .into_inner();
        let request = RegisterNumberRequest {
            phone_number_id: number.phone_number_id,
            phone_number: number.phone_number,
            display_name,
            upload: provisioned.upload,
            retention_seconds: 0,
        };
        relay
            .register_number(request)
            .await
            .map_err(|status| explain(&status))?;
        facts.numbers[index].vault_fingerprint = Some(provisioned.vault_fingerprint);
        facts.save(facts_file)?;
    }

    if facts.gateway_token.is_none() {
        let request = IssueTokenRequest {
            business_id,
            phone_number_ids: Vec::new(),
            scopes: vec![
                Scope::Send.into(),
                Scope::Receive.into(),
                Scope::ReadNumbers.into(),
            ],
            expires_at_ms: 0,
            description: "connector".to_owned(),
        };
        let issued = directory
            .issue_token(request)
            .await
            .map_err(|status| explain(&status))?
            .into_inner();
        facts.gateway_token = Some(issued.token);
        facts.save(facts_file)?;
    }
    Ok(())
}
