//! A vault, a store and a relay in memory. They answer retention's methods only and refuse every other.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
};

use bytes::Bytes;
use prost::Message;
use ring::signature::{Ed25519KeyPair, KeyPair};
use sealpost_proto::{
    record::v1::EpochId,
    relay::v1::{DeleteExpiredRequest, DeleteExpiredResponse},
    store::v1::{
        DeleteEpochsRequest, DeleteEpochsResponse, DeleteNumberRequest, DeleteNumberResponse,
        DeleteSubjectRequest, DeleteSubjectResponse, MarkNumberRequest, MarkNumberResponse,
        TableRows,
    },
    vault::v1::{
        DestroyExpiredEpochsRequest, DestroyExpiredEpochsResponse, ErasedSubject,
        ListReceiptsRequest, ListReceiptsResponse, Receipt, ReceiptStatement, RemovedNumber,
        SerialReceipt, receipt_statement::Destroyed,
    },
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::{Grpc, NamedService, UnaryService},
    transport::{Channel, Endpoint, Server},
};
use tonic_prost::ProstCodec;

/// One of the three, shared with the test.
pub(crate) struct Double<S>(Arc<Mutex<S>>);

impl<S> Clone for Double<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Answers> Double<S> {
    /// Serves `state` on loopback.
    pub(crate) async fn start(state: S) -> (Self, Channel) {
        let double = Self(Arc::new(Mutex::new(state)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder().add_service(double.clone());
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        (double, endpoint.connect_lazy())
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, S> {
        self.0.lock().unwrap()
    }
}

pub(crate) trait Answers: Send + 'static {
    const NAME: &'static str;

    fn answer(
        double: Double<Self>,
        method: &str,
        request: http::Request<Body>,
    ) -> Option<BoxFuture<http::Response<Body>, Infallible>>
    where
        Self: Sized;
}

impl<S: Answers> NamedService for Double<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Answers> Service<http::Request<Body>> for Double<S> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        let method = path.rsplit('/').next().unwrap();
        S::answer(self.clone(), method, request).unwrap_or_else(|| {
            Box::pin(async { Ok(Status::unimplemented("not in this test").into_http()) })
        })
    }
}

struct Method<F>(F);

impl<Q, A, F> UnaryService<Q> for Method<F>
where
    F: Fn(Q) -> Result<A, Status>,
    A: Send + 'static,
{
    type Response = A;
    type Future = BoxFuture<Response<A>, Status>;

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let answer = (self.0)(request.into_inner()).map(Response::new);
        Box::pin(async move { answer })
    }
}

fn unary<Q, A>(
    request: http::Request<Body>,
    answer: impl Fn(Q) -> Result<A, Status> + Send + 'static,
) -> Option<BoxFuture<http::Response<Body>, Infallible>>
where
    Q: Message + Default + Send + 'static,
    A: Message + Default + Send + 'static,
{
    Some(Box::pin(async move {
        let mut grpc = Grpc::new(ProstCodec::<A, Q>::default());
        Ok(grpc.unary(Method(answer), request).await)
    }))
}

pub(crate) struct Vault {
    pub(crate) due: Vec<EpochId>,
    /// Receipts, in the order of their serials, from 1.
    pub(crate) log: Vec<Receipt>,
    /// What it says after destroying, as if its answer were lost.
    pub(crate) silence: Option<Status>,
    /// What it says instead of destroying.
    pub(crate) refusal: Option<Status>,
    pub(crate) signer: Ed25519KeyPair,
    pub(crate) now_ms: u64,
}

impl Vault {
    pub(crate) fn new(due: Vec<EpochId>) -> Self {
        Self {
            due,
            log: Vec::new(),
            silence: None,
            refusal: None,
            signer: signer(1),
            now_ms: 1,
        }
    }

    pub(crate) fn receipt(&self, destroyed: Destroyed) -> Receipt {
        let statement = ReceiptStatement {
            domain: "sealpost/receipt/v1".into(),
            destroyed: Some(destroyed),
            destroyed_at_ms: self.now_ms,
        };
        let statement = statement.encode_to_vec();
        Receipt {
            signature: Bytes::copy_from_slice(self.signer.sign(&statement).as_ref()),
            verification_key: Bytes::copy_from_slice(self.signer.public_key().as_ref()),
            statement: statement.into(),
        }
    }

    pub(crate) fn erased(&self, tag: u8) -> Receipt {
        self.receipt(Destroyed::Subject(ErasedSubject {
            phone_number_id: crate::bench::NUMBER.into(),
            tag: vec![tag; 16].into(),
        }))
    }

    pub(crate) fn removed(&self) -> Receipt {
        self.receipt(Destroyed::Number(RemovedNumber {
            phone_number_id: crate::bench::NUMBER.into(),
            fingerprint: vec![1; 32].into(),
        }))
    }

    pub(crate) fn epoch_destroyed(&self, nth: u64) -> Receipt {
        self.receipt(Destroyed::Epoch(crate::bench::epoch(3_000_000 + 300 * nth)))
    }

    fn list(&self, asked: &ListReceiptsRequest) -> ListReceiptsResponse {
        let listed = (1..).zip(&self.log);
        let listed = listed.filter(|(serial, _)| *serial > asked.after);
        let receipts = listed.take(asked.limit as usize);
        let receipts = receipts.map(|(serial, receipt)| SerialReceipt {
            serial,
            receipt: Some(receipt.clone()),
        });
        ListReceiptsResponse {
            receipts: receipts.collect(),
        }
    }

    fn destroy(
        &mut self,
        request: DestroyExpiredEpochsRequest,
    ) -> Result<DestroyExpiredEpochsResponse, Status> {
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone());
        }
        let mut receipts: Vec<_> = self
            .due
            .iter()
            .map(|epoch| self.receipt(Destroyed::Epoch(*epoch)))
            .collect();
        if request.dry_run {
            for receipt in &mut receipts {
                receipt.signature = Bytes::new();
            }
        } else {
            self.due.clear();
            self.log.extend(receipts.clone());
        }
        match self.silence.take() {
            Some(silence) => Err(silence),
            None => Ok(DestroyExpiredEpochsResponse { receipts }),
        }
    }
}

pub(crate) fn signer(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

impl Answers for Vault {
    const NAME: &'static str = "sealpost.vault.v1.KeyVaultService";

    fn answer(
        double: Double<Self>,
        method: &str,
        request: http::Request<Body>,
    ) -> Option<BoxFuture<http::Response<Body>, Infallible>> {
        match method {
            "DestroyExpiredEpochs" => unary(request, move |asked| double.state().destroy(asked)),
            "ListReceipts" => unary(request, move |asked| Ok(double.state().list(&asked))),
            _ => None,
        }
    }
}

/// Rows by epoch and person, and the largest number deleted by one call.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) rows: Vec<(EpochId, u8)>,
    pub(crate) down: bool,
    /// Its number was marked as kept elsewhere.
    pub(crate) departed: bool,
    pub(crate) largest: u64,
    pub(crate) calls: u32,
}

impl Store {
    pub(crate) fn with(rows: usize, epoch: EpochId, tag: u8) -> Self {
        Self {
            rows: vec![(epoch, tag); rows],
            ..Self::default()
        }
    }

    /// Deletes (or counts) what `gone` says, up to `limit`.
    fn delete(
        &mut self,
        limit: u32,
        dry_run: bool,
        gone: impl Fn(&(EpochId, u8)) -> bool,
    ) -> Result<(u64, bool), Status> {
        if self.down {
            return Err(Status::unavailable("down"));
        }
        self.calls += 1;
        let found = self.rows.iter().filter(|row| gone(row)).count() as u64;
        let deleted = found.min(limit.into());
        if !dry_run {
            let mut left = deleted;
            self.rows.retain(|row| {
                let go = left > 0 && gone(row);
                left -= u64::from(go);
                !go
            });
            self.largest = self.largest.max(deleted);
        }
        Ok((deleted, found > deleted))
    }
}

impl Answers for Store {
    const NAME: &'static str = "sealpost.store.v1.StoreService";

    fn answer(
        double: Double<Self>,
        method: &str,
        request: http::Request<Body>,
    ) -> Option<BoxFuture<http::Response<Body>, Infallible>> {
        match method {
            "DeleteEpochs" => unary(request, move |asked: DeleteEpochsRequest| {
                let gone = |row: &(EpochId, u8)| asked.epochs.contains(&row.0);
                let (deleted, more) = double.state().delete(asked.limit, asked.dry_run, gone)?;
                Ok(DeleteEpochsResponse {
                    deleted,
                    more,
                    tables: tables(deleted),
                })
            }),
            "DeleteSubject" => unary(request, move |asked: DeleteSubjectRequest| {
                let gone = |row: &(EpochId, u8)| asked.tag[..] == [row.1; 16];
                let (deleted, more) = double.state().delete(asked.limit, false, gone)?;
                Ok(DeleteSubjectResponse {
                    deleted,
                    more,
                    tables: tables(deleted),
                })
            }),
            "MarkNumber" => unary(request, move |asked: MarkNumberRequest| {
                double.state().departed = asked.departed;
                Ok(MarkNumberResponse {})
            }),
            "DeleteNumber" => unary(request, move |asked: DeleteNumberRequest| {
                assert_eq!(asked.phone_number_id, crate::bench::NUMBER);
                assert!(double.state().departed, "marked first");
                let (deleted, more) = double.state().delete(asked.limit, false, |_| true)?;
                Ok(DeleteNumberResponse { deleted, more })
            }),
            _ => None,
        }
    }
}

fn tables(rows: u64) -> Vec<TableRows> {
    vec![TableRows {
        table: "outbound".into(),
        rows,
    }]
}

#[derive(Default)]
pub(crate) struct Relay {
    pub(crate) expired: u64,
    pub(crate) down: bool,
}

impl Answers for Relay {
    const NAME: &'static str = "sealpost.relay.v1.PlatformService";

    fn answer(
        double: Double<Self>,
        method: &str,
        request: http::Request<Body>,
    ) -> Option<BoxFuture<http::Response<Body>, Infallible>> {
        match method {
            "DeleteExpired" => unary(request, move |asked: DeleteExpiredRequest| {
                let mut relay = double.state();
                if relay.down {
                    return Err(Status::unavailable("down"));
                }
                let deleted = relay.expired.min(asked.limit.into());
                let more = relay.expired > deleted;
                if !asked.dry_run {
                    relay.expired -= deleted;
                }
                Ok(DeleteExpiredResponse { deleted, more })
            }),
            _ => None,
        }
    }
}
