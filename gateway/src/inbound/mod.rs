//! From consumers to businesses: what the relay collected.
//!
//! Messages are decrypted, kept and acknowledged, or asked for again; receipts move statuses; retry requests are answered with a fresh ciphertext;
//! prekeys are made when they run out. Invariants: the relay is told only of what the store keeps, or of what nothing can be made
//! of; items of one consumer of one number go one after another, in the relay's order.

mod acknowledgements;
mod collector;
mod envelopes;
mod pending;
mod prekeys;
mod receipts;
mod requests;
mod retries;

use std::sync::Arc;

use sealpost_proto::{relay::v1::inbound::Item, vault::v1::ConfirmItem};
use sealpost_runtime::Clock;

use crate::{
    events::{Contents, Wraps},
    ids::PhoneNumberId,
    peers::Peers,
    regions::Regions,
};

pub use collector::Collector;
pub use pending::sweep_pending;

/// What handling an item works with.
#[derive(Clone)]
pub struct Context {
    /// The services.
    pub peers: Arc<Peers>,
    /// Who keeps what.
    pub regions: Arc<Regions>,
    /// The time.
    pub clock: Clock,
    /// Keeps what was just sealed for the business.
    pub contents: Arc<Contents>,
    /// Keeps the wraps of its content keys.
    pub wraps: Arc<Wraps>,
}

/// How one try with an item ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Handled {
    /// The relay may forget it; the word names the outcome in metrics.
    Done(&'static str),
    /// The store keeps it: the relay may forget it, and then the vault.
    Kept(ConfirmItem),
    /// It must be tried again; the word names the cause.
    Again(&'static str),
}

/// Tries once.
async fn handle(context: &Context, number: &PhoneNumberId, item: &Item) -> Handled {
    match item {
        Item::Envelope(envelope) => envelopes::handle(context, number, envelope).await,
        Item::Receipt(receipt) => receipts::handle(context, number, receipt).await,
        Item::Retry(retry) => retries::handle(context, number, retry).await,
        Item::PrekeysLow(low) => prekeys::handle(context, number, *low).await,
    }
}

fn kind_of(item: &Item) -> &'static str {
    match item {
        Item::Envelope(_) => "envelope",
        Item::Receipt(_) => "receipt",
        Item::Retry(_) => "retry",
        Item::PrekeysLow(_) => "prekeys_low",
    }
}
