//! Which person, at which numbers: what `erase` and `export` share.

use clap::Args;
use sealpost_proto::directory::v1::ListNumbersRequest;

use super::access::{Access, failed};
use crate::suite::service::Service;

const PAGE: u32 = 1_000;

/// A person, and the numbers in question.
#[derive(Args)]
pub struct Whose {
    /// The person's phone number, E.164 digits
    #[arg(long, value_name = "PHONE", alias = "peer")]
    phone: String,
    #[command(flatten)]
    at: At,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct At {
    /// At this number alone
    #[arg(long, value_name = "PHONE_NUMBER_ID")]
    number: Option<String>,
    /// At every number of this business
    #[arg(long, value_name = "BUSINESS_ID")]
    business: Option<String>,
    /// At every number there is
    #[arg(long)]
    all: bool,
}

impl Whose {
    /// The person's phone number, digits alone.
    pub fn phone(&self) -> &str {
        self.phone.trim_start_matches('+')
    }

    /// Whether every number is meant, those of the future too.
    pub fn is_everywhere(&self) -> bool {
        self.at.all
    }

    /// The numbers in question, as the directory has them now.
    pub async fn numbers(&self, access: &Access) -> anyhow::Result<Vec<String>> {
        if let Some(number) = &self.at.number {
            return Ok(vec![number.clone()]);
        }
        let business = self.at.business.clone().unwrap_or_default();
        let found = numbers_of(access, &business).await?;
        anyhow::ensure!(!found.is_empty(), "there is no such number");
        Ok(found)
    }
}

/// Ids of the numbers of a business; of all businesses when the id is empty.
pub async fn numbers_of(access: &Access, business_id: &str) -> anyhow::Result<Vec<String>> {
    let mut directory = access.directory()?;
    let (mut numbers, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListNumbersRequest {
            business_id: business_id.to_owned(),
            page_size: PAGE,
            page_token,
        };
        let page = directory
            .list_numbers(request)
            .await
            .map_err(failed(Service::Directory))?
            .into_inner();
        numbers.extend(
            page.numbers
                .into_iter()
                .map(|number| number.phone_number_id),
        );
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(numbers);
        }
    }
}
