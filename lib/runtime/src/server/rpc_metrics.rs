//! Counts calls and their time, by method and code, and by nothing else.
//!
//! A path that no proto of the face declares counts as `other`, so that a caller cannot make label values.

use std::{
    collections::HashSet,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use sealpost_failpoints::fails;
use tonic::{Code, Status, body::Body};
use tower::{BoxError, Layer, Service};

#[derive(Clone)]
pub(super) struct RpcMetricsLayer {
    methods: Arc<HashSet<String>>,
}

impl RpcMetricsLayer {
    pub(super) fn new(methods: Arc<HashSet<String>>) -> Self {
        Self { methods }
    }
}

impl<S> Layer<S> for RpcMetricsLayer {
    type Service = RpcMetrics<S>;

    fn layer(&self, inner: S) -> RpcMetrics<S> {
        RpcMetrics {
            methods: self.methods.clone(),
            inner,
        }
    }
}

#[derive(Clone)]
pub(super) struct RpcMetrics<S> {
    methods: Arc<HashSet<String>>,
    inner: S,
}

impl<S> Service<Request<Body>> for RpcMetrics<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let known = self.methods.contains(path);
        let mut call = Call {
            method: if known {
                path.trim_start_matches('/').to_owned()
            } else {
                "other".to_owned()
            },
            started: Instant::now(),
            // What it was if nobody waits for its end.
            code: Code::Cancelled,
        };
        if fails!("rpc.{}.asked", name(&call.method)) {
            return Box::pin(async { Ok(lost()) });
        }
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answered = answer.await;
            if fails!("rpc.{}.answered", name(&call.method)) {
                return Ok(lost());
            }
            if answered.is_err() {
                call.code = Code::Internal;
            }
            let response = answered?;
            // A call that ends with its headers carries the code there, others in their trailers.
            call.note(response.headers());
            Ok(response.map(|inner| Body::new(CountedBody { inner, call })))
        })
    }
}

/// The last word of a path.
fn name(method: &str) -> &str {
    method.rsplit('/').next().unwrap_or(method)
}

/// What the failpoints stand for: a question, or an answer, that does not arrive.
fn lost() -> Response<Body> {
    Status::unavailable("the connection was lost").into_http()
}

/// One call; counted when dropped, which is when it ends however it ends.
struct Call {
    method: String,
    started: Instant,
    code: Code,
}

impl Call {
    fn note(&mut self, headers: &HeaderMap) {
        if let Some(status) = Status::from_header_map(headers) {
            self.code = status.code();
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let method = std::mem::take(&mut self.method);
        let seconds = self.started.elapsed().as_secs_f64();
        let code = code_name(self.code);
        metrics::histogram!("sealpost_rpc_seconds", "method" => method.clone(), "code" => code)
            .record(seconds);
        metrics::counter!("sealpost_rpc_total", "method" => method, "code" => code).increment(1);
    }
}

/// Watches for the trailers.
struct CountedBody {
    inner: Body,
    call: Call,
}

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.call.note(trailers);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
