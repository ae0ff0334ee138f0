//! Waiting until an instance serves.

use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::instance::Instance;
use super::process;
use crate::operator::Operator;

/// How long an instance may take until it serves.
const START_TIME: Duration = Duration::from_secs(60);
/// How long it may take to answer a question about its health.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// A process that is not there so long after its start has ended.
const EXEC_TIME: Duration = Duration::from_millis(300);
const PAUSE: Duration = Duration::from_millis(50);

/// An instance that was started.
pub struct Started<'a> {
    /// Which one.
    pub instance: &'a Instance,
    /// Where it is asked, `host:port`.
    pub address: &'a str,
    /// Its process.
    pub pid: u32,
    /// How that was started.
    pub argv: &'a [String],
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It serves.
    Serving,
    /// It runs and answers, but waits for something that it calls.
    Waiting,
}

/// Waits until the instance serves; where `enough` is less, until it answers. An error when its process ends meanwhile.
pub async fn wait(
    operator: &Operator,
    started: &Started<'_>,
    enough: Health,
) -> anyhow::Result<Health> {
    let start = Instant::now();
    let instance = started.instance;
    let mut face = match instance.service().role() {
        Some(role) => Some(HealthClient::new(operator.channel(started.address, role)?)),
        None => None,
    };
    loop {
        let health = match &mut face {
            Some(client) => ask(client).await,
            // The connector has no gRPC face: that it listens is all that can be asked for.
            None => {
                let listens = TcpStream::connect(started.address).await.is_ok();
                listens.then_some(Health::Serving)
            }
        };
        match health {
            Some(Health::Serving) => return Ok(Health::Serving),
            Some(found) if found == enough => return Ok(found),
            _ => {}
        }
        if !process::runs_as(started.pid, started.argv) && start.elapsed() > EXEC_TIME {
            bail!("{instance} ended while starting: its log says why");
        }
        if start.elapsed() > START_TIME {
            let limit = START_TIME.as_secs();
            bail!("{instance} does not serve after {limit} s: its log says why");
        }
        sleep(PAUSE).await;
    }
}

/// How it says it is; nothing, when it does not answer.
async fn ask(client: &mut HealthClient<Channel>) -> Option<Health> {
    let check = client.check(HealthCheckRequest {
        service: String::new(),
    });
    match timeout(ANSWER_TIME, check).await {
        Ok(Ok(answer)) if answer.get_ref().status() == ServingStatus::Serving => {
            Some(Health::Serving)
        }
        Ok(Ok(_)) => Some(Health::Waiting),
        _ => None,
    }
}
