//! One call's authentication, which a long stream renews while it lasts.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::sleep;

use super::{Caller, TokenDigest, Tokens};
use crate::status::Error;

/// Who makes a call, as last known; clones share it.
#[derive(Clone)]
pub struct Session {
    tokens: Tokens,
    token: TokenDigest,
    caller: Arc<Mutex<Arc<Caller>>>,
}

impl Session {
    /// Authenticates a token.
    ///
    /// # Errors
    /// As [`Tokens::authenticate`].
    pub async fn open(tokens: Tokens, token: TokenDigest) -> Result<Self, Error> {
        let caller = tokens.authenticate(token).await?;
        Ok(Self {
            tokens,
            token,
            caller: Arc::new(Mutex::new(caller)),
        })
    }

    /// Who calls.
    #[must_use]
    pub fn caller(&self) -> Arc<Caller> {
        self.caller
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Asks again and again, and returns why the token no longer stands.
    pub async fn ended(&self) -> Error {
        loop {
            sleep(self.tokens.recheck()).await;
            match self.tokens.authenticate(self.token).await {
                Ok(caller) => {
                    *self.caller.lock().unwrap_or_else(PoisonError::into_inner) = caller;
                }
                Err(error) => return error,
            }
        }
    }
}
