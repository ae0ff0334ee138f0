//! Devices that can decrypt nothing, or send nothing that could be: five tries each way, and then a word.

use std::time::Duration;

use anyhow::{Context, ensure};
use sealpost_proto::relay::v1::device_service_client::DeviceServiceClient;
use sealpost_proto::relay::v1::{
    CheckEnvelopesRequest, DeviceMessage, EnvelopeState, ReceiveRequest, ReceiveResponse,
    RequestRetryRequest, SubmitMessageOutcome, SubmitMessagesRequest,
};
use sealpost_tests::Suite;
use sealpost_tests::device::Device;
use sealpost_tests::rest::{self, Rest};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Streaming};

use super::{LATER, SOON};

/// A device's stream, with the device's side of it.
struct Open {
    acknowledge: mpsc::Sender<ReceiveRequest>,
    pages: Streaming<ReceiveResponse>,
}

impl Open {
    async fn of(device: &Device) -> anyhow::Result<Self> {
        let (acknowledge, requests) = mpsc::channel(8);
        acknowledge.send(ReceiveRequest::default()).await?;
        let call = request(device, ReceiverStream::new(requests))?;
        let mut relay = DeviceServiceClient::new(device.channel.clone());
        let pages = relay.receive(call).await?.into_inner();
        Ok(Self { acknowledge, pages })
    }

    /// The next page; all of it is acknowledged.
    async fn page(&mut self, limit: Duration) -> anyhow::Result<ReceiveResponse> {
        let page = timeout(limit, self.pages.message())
            .await
            .context("nothing came")??
            .context("the stream ended")?;
        let envelopes = page.envelopes.iter().map(|envelope| envelope.queue_id);
        let requests = page.requests.iter().map(|request| request.queue_id);
        let acknowledge = envelopes.chain(requests).collect();
        self.acknowledge
            .send(ReceiveRequest {
                acknowledge,
                ..ReceiveRequest::default()
            })
            .await?;
        Ok(page)
    }
}

fn request<T>(device: &Device, message: T) -> anyhow::Result<Request<T>> {
    let mut request = Request::new(message);
    let token = format!("Bearer {}", device.token).parse()?;
    request.metadata_mut().insert("authorization", token);
    Ok(request)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_a_device_can_never_decrypt_fails_after_five_more_tries()
-> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let rest = Rest::of(suite)?;
    let number = suite.number(0);
    // Nobody has the private halves of its keys.
    let device = suite.register("15550275001").await?;
    let stranger = suite.register("15550275002").await?;
    let mut stream = Open::of(&device).await?;
    let mut relay = DeviceServiceClient::new(device.channel.clone());
    let id = rest
        .send(number, &rest::text(&device.phone, "unreadable"))
        .await?;
    let mut types = Vec::new();
    for attempt in 0..=5 {
        let page = stream.page(SOON).await?;
        let [envelope] = page.envelopes.as_slice() else {
            anyhow::bail!("one envelope: {page:?}");
        };
        assert_eq!(envelope.attempt, attempt);
        types.push(envelope.r#type);
        let again = RequestRetryRequest {
            phone_number_id: number.to_owned(),
            message_id: envelope.message_id.clone(),
            failed_attempt: attempt,
        };
        let theirs = relay
            .request_retry(request(&stranger, again.clone())?)
            .await;
        assert_eq!(
            theirs.unwrap_err().code(),
            Code::NotFound,
            "not a stranger's"
        );
        for _ in 0..2 {
            relay
                .request_retry(request(&device, again.clone())?)
                .await?;
        }
    }
    assert_eq!(types, [3; 6], "sessions that were never answered");
    let failed = suite.webhook.wait_for_status(&id, "failed", SOON).await?;
    assert_eq!(failed.object["errors"][0]["code"], 131_036);
    assert_eq!(suite.webhook.statuses_of(&id), ["sent", "failed"]);
    let more = stream.page(Duration::from_secs(2)).await;
    ensure!(more.is_err(), "a seventh attempt: {more:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_whose_messages_never_decrypt_is_asked_five_times_and_then_told()
-> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let device = suite.register("15550275003").await?;
    let mut stream = Open::of(&device).await?;
    let mut relay = DeviceServiceClient::new(device.channel.clone());
    let mut message = DeviceMessage {
        envelope_id: vec![7; 16].into(),
        phone_number_id: suite.number(0).to_owned(),
        r#type: 3,
        ciphertext: vec![0x44; 300].into(),
        attempt: 0,
    };
    let check = CheckEnvelopesRequest {
        envelope_ids: vec![message.envelope_id.clone()],
    };
    for attempt in 0..=5 {
        message.attempt = attempt;
        let submitted = relay.submit_messages(request(
            &device,
            SubmitMessagesRequest {
                messages: vec![message.clone()],
            },
        )?);
        let outcomes: Vec<_> = submitted.await?.into_inner().outcomes().collect();
        assert_eq!(outcomes, [SubmitMessageOutcome::Accepted]);
        let page = stream.page(LATER).await?;
        let [asked] = page.requests.as_slice() else {
            anyhow::bail!("one request: {page:?}");
        };
        assert_eq!(asked.envelope_id, message.envelope_id);
        assert_eq!(asked.failed_attempt, attempt);
        let states = relay
            .check_envelopes(request(&device, check.clone())?)
            .await?;
        let states: Vec<_> = states.into_inner().states().collect();
        assert_eq!(states, [EnvelopeState::Waiting]);
    }
    let more = stream.page(Duration::from_secs(2)).await;
    ensure!(more.is_err(), "a seventh request: {more:?}");
    assert!(suite.webhook.messages_from(&device.phone).is_empty());
    Ok(())
}
