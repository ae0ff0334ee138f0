//! `sealpost admin business`.

use clap::Subcommand;
use sealpost_proto::directory::v1::{
    Business as Entry, CreateBusinessRequest, ListBusinessesRequest,
};
use serde_json::{Value, json};

use super::access::{Access, failed};
use super::removal;
use crate::output::Output;
use crate::suite::service::Service;
use crate::table::table;

const PAGE: u32 = 1_000;

#[derive(Subcommand)]
pub enum Business {
    /// Make a business
    Create {
        /// Its name
        name: String,
    },
    /// List businesses
    List,
    /// Remove a business with its numbers and tokens
    Remove {
        /// Its id
        business_id: String,
    },
}

impl Business {
    /// Does it.
    pub async fn run(self, access: &Access, output: Output) -> anyhow::Result<()> {
        match self {
            Self::Create { name } => create(access, output, name).await,
            Self::List => list(access, output).await,
            Self::Remove { business_id } => removal::business(access, output, business_id).await,
        }
    }
}

async fn create(access: &Access, output: Output, name: String) -> anyhow::Result<()> {
    let made = access
        .directory()?
        .create_business(CreateBusinessRequest { name })
        .await
        .map_err(failed(Service::Directory))?
        .into_inner();
    let business = made.business.unwrap_or_default();
    output.say(
        &format!(
            "business {} made; give it a number with `sealpost admin number create --business {}`",
            business.business_id, business.business_id
        ),
        &describe(&business),
    )
}

async fn list(access: &Access, output: Output) -> anyhow::Result<()> {
    let mut directory = access.directory()?;
    let mut businesses = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListBusinessesRequest {
            page_size: PAGE,
            page_token,
        };
        let page = directory
            .list_businesses(request)
            .await
            .map_err(failed(Service::Directory))?
            .into_inner();
        businesses.extend(page.businesses);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let rows: Vec<_> = businesses
        .iter()
        .map(|business| {
            [
                business.business_id.clone(),
                if business.signing_public_key.is_empty() {
                    "none".to_owned()
                } else {
                    "registered".to_owned()
                },
                business.name.clone(),
            ]
        })
        .collect();
    let all: Vec<_> = businesses.iter().map(describe).collect();
    output.say(
        &table(["business", "keys", "name"], &rows),
        &json!({"businesses": all}),
    )
}

fn describe(business: &Entry) -> Value {
    json!({
        "business_id": business.business_id,
        "name": business.name,
        "created_at_ms": business.created_at_ms,
        "hpke_public_key": hex::encode(&business.hpke_public_key),
        "signing_public_key": hex::encode(&business.signing_public_key),
    })
}
