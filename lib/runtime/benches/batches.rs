//! How long an item of 1 KB takes through a hop, both halves in this process and TCP between them, and through a `Gather`.

#![allow(clippy::unwrap_used, reason = "a measurement that fails stops")]

use std::{
    convert::Infallible,
    hint::black_box,
    task::{Context, Poll},
};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::future::{BoxFuture, join_all};
use http::uri::PathAndQuery;
use sealpost_runtime::batch::{BatchAnswers, BatchLane, Gather, Hop, LaneSettings, serve_batches};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    server::{Grpc, NamedService, StreamingService},
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;
use tower::Service;

const ITEM: Bytes = Bytes::from_static(&[b'a'; 1024]);
/// Callers at a time.
const CALLERS: [usize; 3] = [1, 16, 256];

#[derive(Clone, PartialEq, prost::Message)]
struct Batch {
    #[prost(uint64, tag = "1")]
    batch_id: u64,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    items: Vec<Bytes>,
}

/// The client's half.
struct EchoHop(Channel);

impl Hop for EchoHop {
    type Item = Bytes;
    type Outcome = Bytes;
    type Request = Batch;
    type Response = Batch;

    async fn open(&self, requests: ReceiverStream<Batch>) -> Result<Streaming<Batch>, Status> {
        let mut client = tonic::client::Grpc::new(self.0.clone());
        client
            .ready()
            .await
            .map_err(|_| Status::unavailable("not connected"))?;
        let path = PathAndQuery::from_static("/bench.Echo/Echo");
        let codec = ProstCodec::<Batch, Batch>::default();
        let response = client.streaming(Request::new(requests), path, codec);
        Ok(response.await?.into_inner())
    }

    fn request(&self, batch_id: u64, items: Vec<Bytes>) -> Batch {
        Batch { batch_id, items }
    }

    fn answer(&self, response: Batch) -> (u64, Vec<Bytes>) {
        (response.batch_id, response.items)
    }

    fn size(&self, item: &Bytes) -> usize {
        item.len()
    }
}

/// The server's half: it answers what it gets.
#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "bench.Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::<Batch, Batch>::default());
            Ok(grpc.streaming(Self, request).await)
        })
    }
}

impl StreamingService<Batch> for Echo {
    type Response = Batch;
    type ResponseStream = BatchAnswers<Batch>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Batch>>) -> Self::Future {
        let stop = CancellationToken::new();
        let echo = |batch: Batch| async move { Ok(batch) };
        let answers = serve_batches(request.into_inner(), stop, echo);
        std::future::ready(Ok(Response::new(answers)))
    }
}

async fn lane() -> BatchLane<EchoHop> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // As our own listener does: else an answer waits for an acknowledgement that is held back.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    tokio::spawn(
        Server::builder()
            .add_service(Echo)
            .serve_with_incoming(incoming),
    );
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let hop = EchoHop(endpoint.tcp_nodelay(true).connect_lazy());
    BatchLane::start(hop, LaneSettings::new("bench"), CancellationToken::new())
}

fn lanes(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let lane = runtime.block_on(lane());
    let mut group = criterion.benchmark_group("hop, 1 KB");
    for callers in CALLERS {
        group.throughput(Throughput::Elements(callers as u64));
        group.bench_function(format!("{callers} at a time"), |bencher| {
            bencher.iter(|| {
                let calls = (0..callers).map(|_| lane.call(ITEM));
                for answer in runtime.block_on(join_all(calls)) {
                    black_box(answer.unwrap());
                }
            });
        });
    }
    group.finish();
}

fn gathers(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let gather = {
        let _inside = runtime.enter();
        Gather::start(256, |items: Vec<Bytes>| async move { items })
    };
    let mut group = criterion.benchmark_group("gather, 1 KB");
    for callers in CALLERS {
        group.throughput(Throughput::Elements(callers as u64));
        group.bench_function(format!("{callers} at a time"), |bencher| {
            bencher.iter(|| {
                let calls = (0..callers).map(|_| gather.call(ITEM));
                for answer in runtime.block_on(join_all(calls)) {
                    black_box(answer.unwrap());
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, lanes, gathers);
criterion_main!(benches);
