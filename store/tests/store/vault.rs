//! A vault's epochs as the test tells them. It answers one method and refuses every other.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use sealpost_proto::vault::v1::{WatchEpochsRequest, WatchEpochsResponse};
use tokio::{net::TcpListener, sync::mpsc, time::sleep};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::{Grpc, NamedService, ServerStreamingService},
    transport::{Channel, Endpoint, Server},
};
use tonic_prost::ProstCodec;

type Answer = Result<WatchEpochsResponse, Status>;

pub(crate) struct Vault {
    channel: Channel,
    /// The stream that the store listens to now.
    current: Arc<Mutex<Option<mpsc::Sender<Answer>>>>,
}

impl Vault {
    pub(crate) async fn start() -> Self {
        let current = Arc::new(Mutex::new(None));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder().add_service(Watched(current.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        Self {
            channel: endpoint.connect_lazy(),
            current,
        }
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Tells whoever listens, as soon as somebody does.
    pub(crate) async fn say(&mut self, answer: WatchEpochsResponse) {
        loop {
            let listener = self.current.lock().unwrap().clone();
            if let Some(listener) = listener {
                return listener.send(Ok(answer)).await.unwrap();
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the stream.
    pub(crate) fn break_off(&mut self) {
        self.current.lock().unwrap().take();
    }
}

#[derive(Clone)]
struct Watched(Arc<Mutex<Option<mpsc::Sender<Answer>>>>);

impl NamedService for Watched {
    const NAME: &'static str = "sealpost.vault.v1.KeyVaultService";
}

impl Service<http::Request<Body>> for Watched {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let watched = self.clone();
        Box::pin(async move {
            if !request.uri().path().ends_with("/WatchEpochs") {
                return Ok(Status::unimplemented("not in this test").into_http());
            }
            let mut grpc =
                Grpc::new(ProstCodec::<WatchEpochsResponse, WatchEpochsRequest>::default());
            Ok(grpc.server_streaming(watched, request).await)
        })
    }
}

impl ServerStreamingService<WatchEpochsRequest> for Watched {
    type Response = WatchEpochsResponse;
    type ResponseStream = ReceiverStream<Answer>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, _request: Request<WatchEpochsRequest>) -> Self::Future {
        let (sender, receiver) = mpsc::channel(4);
        *self.0.lock().unwrap() = Some(sender);
        Box::pin(async move { Ok(Response::new(ReceiverStream::new(receiver))) })
    }
}
