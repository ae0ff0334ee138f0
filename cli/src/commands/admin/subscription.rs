//! `sealpost admin subscription`: who reads events, and how far they are. Each store keeps the subscriptions of its numbers.

use anyhow::Context;
use clap::Subcommand;
use sealpost_proto::store::v1::{
    DeleteSubscriptionRequest, ListSubscriptionsRequest, StoredSubscription,
    store_service_client::StoreServiceClient,
};
use serde_json::json;
use tonic::transport::Channel;

use super::access::{Access, failed};
use crate::output::Output;
use crate::suite::service::Service;
use crate::table::table;

const PAGE: u32 = 1_000;
const BATCH: u32 = 10_000;

#[derive(Subcommand)]
pub enum Subscription {
    /// List subscriptions, how far each is, and when it was last used
    List {
        /// Only those of this business
        #[arg(long)]
        business: Option<String>,
    },
    /// Delete a subscription that no program uses any more
    Delete {
        /// Its name as listed: BUSINESS_ID/NAME
        name: String,
        /// On this number alone
        #[arg(long, value_name = "PHONE_NUMBER_ID")]
        number: Option<String>,
    },
}

impl Subscription {
    /// Does it.
    pub async fn run(self, access: &Access, output: Output) -> anyhow::Result<()> {
        match self {
            Self::List { business } => list(access, output, business).await,
            Self::Delete { name, number } => delete(access, output, name, number).await,
        }
    }
}

async fn list(access: &Access, output: Output, business: Option<String>) -> anyhow::Result<()> {
    let of_business = business.map(|business| format!("{business}/"));
    let mut listed = Vec::new();
    for store in access.stores()? {
        listed.extend(list_of(store).await?);
    }
    listed.retain(|one| {
        let wanted = of_business.as_ref();
        wanted.is_none_or(|prefix| one.subscription.starts_with(prefix))
    });
    let rows: Vec<_> = listed
        .iter()
        .map(|one| {
            [
                one.subscription.clone(),
                one.phone_number_id.clone(),
                one.cursor.to_string(),
                one.newest_cursor.saturating_sub(one.cursor).to_string(),
                one.used_at_ms.to_string(),
            ]
        })
        .collect();
    let describe = |one: &StoredSubscription| {
        json!({
            "subscription": one.subscription,
            "phone_number_id": one.phone_number_id,
            "cursor": one.cursor,
            "newest_cursor": one.newest_cursor,
            "used_at_ms": one.used_at_ms,
        })
    };
    let all: Vec<_> = listed.iter().map(describe).collect();
    output.say(
        &table(
            ["subscription", "number", "cursor", "behind", "used (ms)"],
            &rows,
        ),
        &json!({ "subscriptions": all }),
    )
}

async fn list_of(
    mut store: StoreServiceClient<Channel>,
) -> anyhow::Result<Vec<StoredSubscription>> {
    let mut listed: Vec<StoredSubscription> = Vec::new();
    loop {
        let last = listed.last().cloned().unwrap_or_default();
        let request = ListSubscriptionsRequest {
            page_size: PAGE,
            after_subscription: last.subscription,
            after_phone_number_id: last.phone_number_id,
        };
        let page = store
            .list_subscriptions(request)
            .await
            .map_err(failed(Service::Store))?
            .into_inner()
            .subscriptions;
        let complete = page.len() < PAGE as usize;
        listed.extend(page);
        if complete {
            return Ok(listed);
        }
    }
}

async fn delete(
    access: &Access,
    output: Output,
    name: String,
    number: Option<String>,
) -> anyhow::Result<()> {
    let mut deleted = 0;
    for mut store in access.stores()? {
        loop {
            let request = DeleteSubscriptionRequest {
                subscription: name.clone(),
                phone_number_id: number.clone().unwrap_or_default(),
                limit: BATCH,
            };
            let answer = store
                .delete_subscription(request)
                .await
                .map_err(failed(Service::Store))
                .context("run the same command again")?
                .into_inner();
            deleted += answer.deleted;
            if !answer.more {
                break;
            }
        }
    }
    let words = match deleted {
        0 => format!("there is no subscription {name}"),
        rows => {
            format!("{name} is deleted on {rows} numbers; a program that still uses it begins anew")
        }
    };
    output.say(&words, &json!({ "deleted": deleted }))
}
