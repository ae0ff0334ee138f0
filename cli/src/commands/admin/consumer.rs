//! `sealpost admin consumer`: registrations of consumers, which the relay alone keeps.

use clap::Subcommand;
use sealpost_proto::relay::v1::RemoveConsumerRequest;
use serde_json::json;

use super::access::{Access, failed};
use crate::output::Output;
use crate::suite::service::Service;

#[derive(Subcommand)]
pub enum Consumer {
    /// Delete a consumer's registration at the relay: the device, its keys, what waits for it, and what is remembered there. What
    /// numbers and a consumer said is erased with `sealpost admin erase`, which does this too with --all
    Remove {
        /// The consumer's phone number, E.164 digits
        phone_number: String,
    },
}

impl Consumer {
    /// Does it.
    pub async fn run(self, access: &Access, output: Output) -> anyhow::Result<()> {
        let Self::Remove { phone_number } = self;
        let request = RemoveConsumerRequest {
            peer: phone_number.trim_start_matches('+').to_owned(),
        };
        let removed = access
            .relay()?
            .remove_consumer(request)
            .await
            .map_err(failed(Service::Relay))?
            .into_inner();
        let deleted = removed.deleted;
        let words = match deleted {
            0 => "the relay knows no such consumer".to_owned(),
            rows => format!("the relay knows the consumer no more; {rows} rows were deleted"),
        };
        output.say(&words, &json!({ "relay_rows_deleted": deleted }))
    }
}
