//! Looks at events exactly as the gateway hands them out, before anybody opens them: their sizes are what the gateway had.

use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use sealpost_proto::gateway::v1::event::Event as Kind;
use sealpost_proto::gateway::v1::gateway_service_client::GatewayServiceClient;
use sealpost_proto::gateway::v1::subscribe_events_request::Request as Asked;
use sealpost_proto::gateway::v1::{
    OpenSubscription, SubscribeEventsRequest, SubscribeEventsResponse,
};
use sealpost_runtime::{Clock, Timestamp, tls};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

use crate::running::host_ports;
use crate::suite::run_file::RunFile;

const PATIENCE: Duration = Duration::from_secs(30);

/// An open stream of sealed events.
pub struct Observer {
    // The stream ends when the requests do.
    _requests: mpsc::Sender<SubscribeEventsRequest>,
    answers: Streaming<SubscribeEventsResponse>,
    /// Events before it are of an earlier demo in the same folder.
    since: Timestamp,
}

/// A consumer's message as the gateway had it.
pub struct Sealed {
    /// The header's bytes.
    pub header: Bytes,
    /// The sealed body's bytes.
    pub body: Bytes,
}

impl Observer {
    /// Opens a subscription of its own, and acknowledges nothing.
    pub async fn open(run: &RunFile) -> anyhow::Result<Self> {
        let address = host_ports(&run.gateway.urls)
            .parse()
            .map_err(|reason| anyhow!("the gateway's address: {reason}"))?;
        let channel = tls::connect_public(&address, &run.tls.ca)?;
        let (requests, stream) = mpsc::channel(4);
        let open = OpenSubscription {
            name: "demo-observer".to_owned(),
            phone_number_ids: Vec::new(),
            max_unacknowledged: 0,
        };
        let open = SubscribeEventsRequest {
            request: Some(Asked::Open(open)),
        };
        requests.send(open).await?;
        let mut request = Request::new(ReceiverStream::new(stream));
        let bearer = format!("Bearer {}", run.gateway.token).parse()?;
        request.metadata_mut().insert("authorization", bearer);
        let answers = GatewayServiceClient::new(channel)
            .subscribe_events(request)
            .await
            .map_err(|status| crate::operator::explain(&status))
            .context("the gateway refused a subscription")?
            .into_inner();
        Ok(Self {
            _requests: requests,
            answers,
            since: Clock::system().now(),
        })
    }

    /// The next consumer's message.
    pub async fn next_message(&mut self) -> anyhow::Result<Sealed> {
        timeout(PATIENCE, self.wait())
            .await
            .context("the gateway handed no message out in time")?
    }

    async fn wait(&mut self) -> anyhow::Result<Sealed> {
        loop {
            let answer = self
                .answers
                .message()
                .await
                .map_err(|status| crate::operator::explain(&status))?
                .context("the gateway ended the subscription")?;
            for event in answer.events {
                if event.time_ms >= self.since.as_millis()
                    && let Some(Kind::Message(inbound)) = event.event
                    && let Some(message) = inbound.message
                {
                    return Ok(Sealed {
                        header: message.header,
                        body: message.body,
                    });
                }
            }
        }
    }
}
