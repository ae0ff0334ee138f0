//! From the queue to the app: bodies, signatures, requests and retries.

mod app;
mod dispatcher;
pub(crate) mod payload;
mod retry;
mod signature;

pub use app::{App, AppError, Verification};
pub use dispatcher::Dispatcher;
pub use payload::Account;
pub use signature::{SIGNATURE_HEADER, sign};
