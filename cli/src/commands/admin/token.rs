//! `sealpost admin token`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use sealpost_proto::directory::v1::{IssueTokenRequest, RevokeTokenRequest, Scope as Wire};
use serde_json::json;

use super::access::{Access, failed};
use crate::duration;
use crate::output::Output;
use crate::suite::service::Service;

#[derive(Subcommand)]
pub enum Token {
    /// Make an access token; it is shown once
    Issue(Issue),
    /// End an access token; gateways notice within seconds
    Revoke {
        /// Its id, as `issue` answered it
        token_id: String,
    },
}

#[derive(Args)]
pub struct Issue {
    /// Whose [default: the suite's first business]
    #[arg(long)]
    business: Option<String>,
    /// Only for this number; may be given several times [default: all of the business]
    #[arg(long = "number", value_name = "PHONE_NUMBER_ID")]
    numbers: Vec<String>,
    /// What it may do
    #[arg(long = "scope", value_delimiter = ',', default_values = ["send", "receive", "read-numbers"])]
    scopes: Vec<Scope>,
    /// How long it works, such as 90d [default: for ever]
    #[arg(long, value_parser = duration::parse)]
    expires_in: Option<Duration>,
    /// What it is for
    #[arg(long, default_value = "")]
    description: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Scope {
    /// Send messages and ask for their status
    Send,
    /// Subscribe to events
    Receive,
    /// Look up numbers and their public keys
    ReadNumbers,
}

impl From<Scope> for Wire {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Send => Self::Send,
            Scope::Receive => Self::Receive,
            Scope::ReadNumbers => Self::ReadNumbers,
        }
    }
}

impl Token {
    /// Does it.
    pub async fn run(self, access: &Access, output: Output) -> anyhow::Result<()> {
        match self {
            Self::Issue(issue) => issue.run(access, output).await,
            Self::Revoke { token_id } => revoke(access, output, token_id).await,
        }
    }
}

impl Issue {
    async fn run(self, access: &Access, output: Output) -> anyhow::Result<()> {
        let business_id = match (self.business, access.suite()) {
            (Some(business), _) => business,
            (None, Some(suite)) => suite.run.business.id.clone(),
            (None, None) => anyhow::bail!("say whose token it is: --business ID"),
        };
        let expires_at_ms = match self.expires_in {
            Some(after) => (access.now()? + after).as_millis(),
            None => 0,
        };
        let request = IssueTokenRequest {
            business_id,
            phone_number_ids: self.numbers,
            scopes: self
                .scopes
                .into_iter()
                .map(|scope| Wire::from(scope).into())
                .collect(),
            expires_at_ms,
            description: self.description,
        };
        let issued = access
            .directory()?
            .issue_token(request)
            .await
            .map_err(failed(Service::Directory))?
            .into_inner();
        output.note("keep the token: it is not shown again");
        output.say(
            &format!("token id  {}\ntoken     {}", issued.token_id, issued.token),
            &json!({
                "token_id": issued.token_id,
                "token": issued.token,
                "expires_at_ms": expires_at_ms,
            }),
        )
    }
}

async fn revoke(access: &Access, output: Output, token_id: String) -> anyhow::Result<()> {
    let request = RevokeTokenRequest {
        token_id: token_id.clone(),
    };
    access
        .directory()?
        .revoke_token(request)
        .await
        .map_err(failed(Service::Directory))?;
    output.say(
        &format!("token {token_id} is revoked"),
        &json!({"token_id": token_id, "revoked": true}),
    )
}
