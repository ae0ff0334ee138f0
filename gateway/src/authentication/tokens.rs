//! Asks the directory about tokens, once at a time for each, through the cache.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use sealpost_proto::directory::v1::{
    AuthenticateTokenRequest, directory_service_client::DirectoryServiceClient,
};
use sealpost_runtime::Clock;
use tokio::time::Instant;
use tonic::transport::Channel;

use super::{Answer, Caller, Lookup, TokenCache, TokenDigest};
use crate::{
    meters,
    peers::{CallError, called},
    status::Error,
};

/// An answer on its way, for everyone who waits for it.
type Asking = Shared<BoxFuture<'static, Result<Answer, CallError>>>;

/// The tokens; clones share them.
#[derive(Clone)]
pub struct Tokens {
    inner: Arc<Inner>,
}

struct Inner {
    directory: DirectoryServiceClient<Channel>,
    clock: Clock,
    recheck: Duration,
    cache: Mutex<TokenCache>,
    asking: Mutex<HashMap<TokenDigest, Asking>>,
}

impl Tokens {
    /// Uses an answer of the directory for `life`.
    #[must_use]
    pub fn new(directory: DirectoryServiceClient<Channel>, clock: Clock, life: Duration) -> Self {
        Self {
            inner: Arc::new(Inner {
                directory,
                clock,
                recheck: life,
                cache: Mutex::new(TokenCache::new(life)),
                asking: Mutex::default(),
            }),
        }
    }

    /// How often a long stream asks again.
    #[must_use]
    pub fn recheck(&self) -> Duration {
        self.inner.recheck
    }

    /// What a token may do.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], or [`Error::Unreachable`] when nobody knows.
    pub async fn authenticate(&self, token: TokenDigest) -> Result<Arc<Caller>, Error> {
        let lookup = {
            let cache = self
                .inner
                .cache
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            cache.lookup(&token, Instant::now())
        };
        let answer = match lookup {
            Lookup::Fresh(answer) => answer,
            Lookup::Stale(caller) => match self.ask(token).await {
                Ok(answer) => answer,
                Err(_) => {
                    meters::token("grace");
                    Answer::Known(caller)
                }
            },
            Lookup::Absent => self
                .ask(token)
                .await
                .map_err(|_| Error::Unreachable("directory"))?,
        };
        match answer {
            Answer::Known(caller) if !caller.has_ended(self.inner.clock.now()) => Ok(caller),
            _ => Err(Error::Unauthenticated),
        }
    }

    async fn ask(&self, token: TokenDigest) -> Result<Answer, CallError> {
        let asking = {
            let mut asking = self
                .inner
                .asking
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            asking
                .entry(token)
                .or_insert_with(|| fetch(self.inner.clone(), token).boxed().shared())
                .clone()
        };
        asking.await
    }
}

/// Asks, keeps the answer, and makes room for the next question. Spawned, so that it ends though nobody waits any more.
async fn fetch(inner: Arc<Inner>, token: TokenDigest) -> Result<Answer, CallError> {
    let asked = tokio::spawn(async move {
        let request = AuthenticateTokenRequest {
            token_sha256: Bytes::copy_from_slice(token.as_bytes()),
        };
        let answer = match called(inner.directory.clone().authenticate_token(request)).await {
            Ok(answer) => Ok(Answer::Known(Arc::new(Caller::from_answer(answer)))),
            Err(CallError::NotFound) => Ok(Answer::Unknown),
            Err(error) => Err(error),
        };
        meters::token(match &answer {
            Ok(Answer::Known(_)) => "known",
            Ok(Answer::Unknown) => "unknown",
            Err(_) => "unreachable",
        });
        if let Ok(answer) = &answer {
            let mut cache = inner.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.keep(token, answer, Instant::now());
        }
        let mut asking = inner.asking.lock().unwrap_or_else(PoisonError::into_inner);
        asking.remove(&token);
        answer
    });
    asked
        .await
        .unwrap_or(Err(CallError::Unreachable(tonic::Code::Internal)))
}
