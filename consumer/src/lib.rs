//! The reference Signal client on the user's side.
//!
//! Owns a consumer device: its keys and sessions, its encrypted state file, the conversation with the relay's device face, and a
//! terminal chat. It speaks `docs/device-protocol.md` and nothing else: it shares no code with the business's side.
//!
//! Its invariants: a message and the session that opened it become durable together, before the relay is told; a message is shown
//! once; a ciphertext is durable before it leaves, so that a retry sends the same bytes; nothing lies on disk in the clear.
//!
//! ```no_run
//! # async fn example() -> Result<(), sealpost_consumer::ConsumerError> {
//! use std::path::Path;
//!
//! use sealpost_consumer::{Client, EventKind, Relay, State, content, register};
//! use sealpost_runtime::Clock;
//!
//! let clock = Clock::system();
//! let address = "relay.example:7443".parse().map_err(sealpost_consumer::ConsumerError::Malformed)?;
//! let relay = Relay::connect(&address, Path::new("ca.pem"))?;
//!
//! let mut state = State::open(Path::new("device.state"))?;
//! if state.registration().is_none() {
//!     let phone = "+15550001111".parse()?;
//!     register(&relay, &mut state, &clock, &phone, async |_expires| "123456".parse()).await?;
//! }
//!
//! let client = Client::connect(relay, state, clock)?;
//! let business: sealpost_consumer::PhoneNumber = "+15559990000".parse()?;
//! client.send(business, &content::text("Are you open today?")).await?;
//! loop {
//!     let event = client.receive().await?;
//!     if let EventKind::Message(message) = &event.kind {
//!         client.send(message.phone_number_id.clone(), &content::text("Thank you!")).await?;
//!         client.confirm(&event);
//!         break;
//!     }
//!     client.confirm(&event);
//! }
//! client.flush().await?;
//! client.close().await?;
//! # Ok(())
//! # }
//! ```

pub mod chat;
mod client;
pub mod content;
mod error;
mod event;
pub mod frame;
mod ids;
mod low_order;
pub mod padding;
mod receive;
mod register;
mod relay;
mod resend;
mod seal;
mod signal;
mod state;

pub use client::{BusinessInfo, Client, Connection, MAX_UNCONFIRMED};
pub use error::{ConsumerError, SignalFault, StateError};
pub use event::{Event, EventKind, Incoming};
pub use ids::{Business, Category, MessageId, PhoneNumber, PhoneNumberId};
pub use register::{Code, register};
pub use relay::Relay;
/// The messages of `sealpost.content.v1`.
pub use sealpost_proto::content::v1 as content_v1;
pub use state::{Registration, State};
