//! `sealpost admin number move`: a number's records go to another region's store. The directory remembers it, retention does it.

use std::time::{Duration, Instant};

use clap::Args;
use sealpost_proto::directory::v1::{
    ListNumberMovesRequest, MoveNumberRequest, NumberMove, NumberMoveState,
};
use serde_json::{Value, json};

use super::access::{Access, failed};
use crate::duration;
use crate::output::Output;
use crate::suite::service::Service;
use crate::table::table;

/// How often the directory is asked how far it is.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Args)]
pub struct Move {
    /// The number's id
    #[arg(long = "number", value_name = "ID")]
    phone_number_id: String,
    /// The region that its records go to
    #[arg(long, value_name = "REGION")]
    to: String,
    /// How long to wait until it is done; 0s only asks for it
    #[arg(long, default_value = "10m", value_parser = duration::parse)]
    wait: Duration,
}

#[derive(Args)]
pub struct Moves {
    /// Only this number's
    #[arg(long = "number", value_name = "ID", default_value = "")]
    phone_number_id: String,
    /// Only those that are under way
    #[arg(long)]
    open: bool,
}

impl Move {
    /// Asks for it, and waits. Asking again for what is under way only waits.
    pub async fn run(self, access: &Access, output: Output) -> anyhow::Result<()> {
        let request = MoveNumberRequest {
            phone_number_id: self.phone_number_id.clone(),
            region: self.to,
        };
        let begun = access
            .directory()?
            .move_number(request)
            .await
            .map_err(failed(Service::Directory))?
            .into_inner();
        let mut found = begun.r#move.unwrap_or_default();
        let start = Instant::now();
        while found.finished_at_ms == 0 && start.elapsed() < self.wait {
            tokio::time::sleep(LOOK).await;
            let moves = list(access, &self.phone_number_id, false).await?;
            let same = moves.into_iter().find(|one| one.move_id == found.move_id);
            found = same.unwrap_or(found);
        }
        anyhow::ensure!(
            found.state() != NumberMoveState::Failed,
            "no store is there for the region {}: the number stays in {}",
            found.to_region,
            found.from_region
        );
        let words = match found.state() {
            NumberMoveState::Done => format!(
                "number {} is in {} now: {} rows were moved from {}",
                found.phone_number_id, found.to_region, found.rows, found.from_region
            ),
            _ => format!(
                "number {} is on its way from {} to {}; meanwhile it takes no messages",
                found.phone_number_id, found.from_region, found.to_region
            ),
        };
        output.say(&words, &describe(&found))
    }
}

impl Moves {
    /// Lists them, newest first.
    pub async fn run(self, access: &Access, output: Output) -> anyhow::Result<()> {
        let moves = list(access, &self.phone_number_id, self.open).await?;
        let rows: Vec<_> = moves
            .iter()
            .map(|one| {
                [
                    one.phone_number_id.clone(),
                    one.from_region.clone(),
                    one.to_region.clone(),
                    name_of(one.state()).to_owned(),
                    one.rows.to_string(),
                    one.asked_by.clone(),
                ]
            })
            .collect();
        let all: Vec<_> = moves.iter().map(describe).collect();
        output.say(
            &table(["number", "from", "to", "state", "rows", "asked by"], &rows),
            &json!({"moves": all}),
        )
    }
}

async fn list(access: &Access, number: &str, open_only: bool) -> anyhow::Result<Vec<NumberMove>> {
    let request = ListNumberMovesRequest {
        phone_number_id: number.to_owned(),
        open_only,
        page_size: 1_000,
        before_ms: 0,
    };
    let found = access
        .directory()?
        .list_number_moves(request)
        .await
        .map_err(failed(Service::Directory))?;
    Ok(found.into_inner().moves)
}

fn name_of(state: NumberMoveState) -> &'static str {
    match state {
        NumberMoveState::Unspecified => "unknown",
        NumberMoveState::Asked => "asked",
        NumberMoveState::Switched => "switched",
        NumberMoveState::Done => "done",
        NumberMoveState::Failed => "failed",
    }
}

fn describe(one: &NumberMove) -> Value {
    json!({
        "move_id": one.move_id,
        "phone_number_id": one.phone_number_id,
        "from": one.from_region,
        "to": one.to_region,
        "asked_by": one.asked_by,
        "state": name_of(one.state()),
        "rows": one.rows,
        "asked_at_ms": one.asked_at_ms,
        "switched_at_ms": one.switched_at_ms,
        "finished_at_ms": one.finished_at_ms,
    })
}
