//! Calls with any bytes as message, to any method.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use tokio_stream::{StreamExt, iter};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// How long an answer may take before the call counts as open and silent, as a stream with nothing to say is.
const SILENCE: Duration = Duration::from_millis(1500);

/// What became of a call.
#[derive(Debug)]
pub enum Outcome {
    /// An answer came; the first one.
    Answered(Bytes),
    /// It ended well, without an answer.
    Ended,
    /// It was refused, or broke.
    Refused(Status),
    /// Nothing came; the call stood open.
    Silent,
}

impl Outcome {
    /// The status, when it was refused.
    #[must_use]
    pub fn refused(&self) -> Option<&Status> {
        match self {
            Self::Refused(status) => Some(status),
            _ => None,
        }
    }
}

/// Calls the method at `path` with these messages, one after the other, and takes the first answer. As a stream both ways: on
/// the wire every kind of call is one.
pub async fn call(
    channel: &Channel,
    path: &str,
    token: Option<&str>,
    messages: Vec<Bytes>,
) -> Outcome {
    let mut request = Request::new(iter(messages));
    if let Some(token) = token {
        match MetadataValue::try_from(format!("Bearer {token}")) {
            Ok(value) => request.metadata_mut().insert("authorization", value),
            Err(_) => return Outcome::Refused(Status::cancelled("not a header")),
        };
    }
    call_with(channel, path, request).await
}

/// As [`call`], with a request that has its own metadata.
pub async fn call_with<S>(channel: &Channel, path: &str, request: Request<S>) -> Outcome
where
    S: tokio_stream::Stream<Item = Bytes> + Send + 'static,
{
    let answering = async {
        let mut grpc = Grpc::new(channel.clone()).max_decoding_message_size(64 * 1024 * 1024);
        grpc.ready()
            .await
            .map_err(|error| Status::from_error(Box::new(error)))?;
        let path = path.parse().map_err(|_| Status::cancelled("not a path"))?;
        let mut answers = grpc.streaming(request, path, RawCodec).await?.into_inner();
        answers.next().await.transpose()
    };
    match tokio::time::timeout(SILENCE, answering).await {
        Err(_) => Outcome::Silent,
        Ok(Ok(Some(answer))) => Outcome::Answered(answer),
        Ok(Ok(None)) => Outcome::Ended,
        Ok(Err(status)) => Outcome::Refused(status),
    }
}

/// Bytes as they are.
#[derive(Clone, Copy, Debug, Default)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.reserve(item.len());
        to.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = from.remaining();
        Ok(Some(from.copy_to_bytes(length)))
    }
}
