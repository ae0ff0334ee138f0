//! A hop whose server doubles numbers, over TCP connections that a test can cut.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    server::{Grpc, NamedService, StreamingService},
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

use crate::{
    batch::{BatchAnswers, Hop, serve_batches},
    tls::{Guarded, Leash},
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Batch {
    #[prost(uint64, tag = "1")]
    pub(super) batch_id: u64,
    #[prost(uint64, repeated, tag = "2")]
    pub(super) values: Vec<u64>,
}

pub(super) fn double(mut batch: Batch) -> Batch {
    for value in &mut batch.values {
        *value *= 2;
    }
    batch
}

type Handler = Arc<dyn Fn(Batch) -> BoxFuture<'static, Result<Batch, Status>> + Send + Sync>;

/// The server, the way to it, and what it saw.
pub(super) struct Peer {
    channel: Channel,
    server: Doubler,
    connection: Arc<Mutex<Option<Leash>>>,
}

impl Peer {
    pub(super) async fn start<H, F>(handle: H) -> Self
    where
        H: Fn(Batch) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Batch, Status>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Doubler::new(Arc::new(move |batch| Box::pin(handle(batch))));
        let router = tonic::transport::Server::builder().add_service(server.clone());
        tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
        Self::at(address, server)
    }

    /// An address where nobody listens.
    pub(super) async fn absent() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        Self::at(
            address,
            Doubler::new(Arc::new(|batch| Box::pin(async { Ok(batch) }))),
        )
    }

    fn at(address: SocketAddr, server: Doubler) -> Self {
        let connection: Arc<Mutex<Option<Leash>>> = Arc::default();
        let current = connection.clone();
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .unwrap()
            .connect_with_connector_lazy(service_fn(move |_| {
                let current = current.clone();
                async move {
                    let leash = Leash::under(&CancellationToken::new());
                    *current.lock().unwrap() = Some(leash.clone());
                    let tcp = TcpStream::connect(address).await?;
                    Ok::<_, std::io::Error>(TokioIo::new(Guarded::new(tcp, leash)))
                }
            }));
        Self {
            channel,
            server,
            connection,
        }
    }

    pub(super) fn hop(&self) -> DoublerHop {
        DoublerHop {
            channel: self.channel.clone(),
        }
    }

    pub(super) fn cut(&self) {
        self.connection.lock().unwrap().take().unwrap().cut.cancel();
    }

    /// The next `count` streams are told to stop before they begin anything.
    pub(super) fn stop_next_streams(&self, count: usize) {
        *self.server.stopping.lock().unwrap() = count;
    }

    pub(super) fn batches(&self) -> Vec<Vec<u64>> {
        self.server.seen.lock().unwrap().clone()
    }

    pub(super) async fn wait_for_batches(&self, count: usize) {
        while self.batches().len() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The client's half.
pub(super) struct DoublerHop {
    channel: Channel,
}

impl DoublerHop {
    pub(super) const ITEM_BYTES: usize = 10;
}

impl Hop for DoublerHop {
    type Item = u64;
    type Outcome = u64;
    type Request = Batch;
    type Response = Batch;

    async fn open(&self, requests: ReceiverStream<Batch>) -> Result<Streaming<Batch>, Status> {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client
            .ready()
            .await
            .map_err(|_| Status::unavailable("not connected"))?;
        let path = PathAndQuery::from_static("/test.Doubler/Double");
        let codec = ProstCodec::<Batch, Batch>::default();
        let response = client
            .streaming(Request::new(requests), path, codec)
            .await?;
        Ok(response.into_inner())
    }

    fn request(&self, batch_id: u64, values: Vec<u64>) -> Batch {
        Batch { batch_id, values }
    }

    fn answer(&self, response: Batch) -> (u64, Vec<u64>) {
        (response.batch_id, response.values)
    }

    fn size(&self, _item: &u64) -> usize {
        Self::ITEM_BYTES
    }
}

/// The server's half.
#[derive(Clone)]
struct Doubler {
    handle: Handler,
    seen: Arc<Mutex<Vec<Vec<u64>>>>,
    stopping: Arc<Mutex<usize>>,
}

impl Doubler {
    fn new(handle: Handler) -> Self {
        Self {
            handle,
            seen: Arc::default(),
            stopping: Arc::default(),
        }
    }
}

impl NamedService for Doubler {
    const NAME: &'static str = "test.Doubler";
}

impl Service<http::Request<Body>> for Doubler {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::<Batch, Batch>::default());
            Ok(grpc.streaming(this, request).await)
        })
    }
}

impl StreamingService<Batch> for Doubler {
    type Response = Batch;
    type ResponseStream = BatchAnswers<Batch>;
    type Future = std::future::Ready<Result<Response<BatchAnswers<Batch>>, Status>>;

    fn call(&mut self, request: Request<Streaming<Batch>>) -> Self::Future {
        let stop = CancellationToken::new();
        let mut stopping = self.stopping.lock().unwrap();
        if *stopping > 0 {
            *stopping -= 1;
            stop.cancel();
        }
        let (handle, seen) = (self.handle.clone(), self.seen.clone());
        let answers = serve_batches(request.into_inner(), stop, move |batch: Batch| {
            seen.lock().unwrap().push(batch.values.clone());
            handle(batch)
        });
        std::future::ready(Ok(Response::new(answers)))
    }
}
