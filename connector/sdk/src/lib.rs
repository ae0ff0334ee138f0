//! The business's end of Sealpost: seals and sends messages, receives and opens events, over the gateway's gRPC face.
//!
//! Owns what `docs/integrate.md` asks of a business: which vault keys to trust, content keys and when to make new ones, message
//! ids, retries, acknowledgement. Keeps nothing on disk and knows no Signal.
//!
//! Invariant: whatever a gateway answers, content is only sealed to a vault key that the pinned fingerprint vouches for, and
//! a [`Message`] was sealed by that vault for this business, this number and that peer.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use sealpost_connector_sdk::{
//!     BusinessKeys, Category, Client, IdempotencyKey, Incoming, KeyFiles, Outbound, Peer, Pins, Settings, Subscription,
//!     Token, content,
//! };
//!
//! let number = "106540352242922".parse()?;
//! let client = Client::connect(Settings {
//!     address: "gateway.example.com:7443".parse()?,
//!     ca: "/etc/business/gateway-ca.pem".into(),
//!     token: Token::read("/etc/business/gateway.token".as_ref())?,
//!     keys: BusinessKeys::read(&KeyFiles {
//!         hpke_key: "/etc/business/hpke.key".into(),
//!         signing_key: "/etc/business/signing.key".into(),
//!         message_id_key: "/etc/business/message-id.key".into(),
//!     })?,
//!     pins: Pins::from([(number, "66b1b0c6…".parse()?)]),
//!     clock: sealpost_runtime::Clock::system(),
//! })?;
//!
//! let accepted = client
//!     .send(
//!         Outbound {
//!             phone_number_id: "106540352242922".parse()?,
//!             to: Peer::new("15551234567")?,
//!             category: Category::Utility,
//!             content: content::text("Your order is on its way."),
//!             idempotency_key: IdempotencyKey::new("order-7781-shipped")?,
//!         },
//!         Duration::from_secs(20),
//!     )
//!     .await?;
//! println!("{}", sealpost_connector_sdk::wamid(accepted.message_id));
//!
//! let mut events = client.subscribe(Subscription::new("orders")?)?;
//! while let Some(delivery) = events.next().await {
//!     if let Incoming::Message(message) = &delivery.incoming {
//!         // Keep it, then:
//!         let _ = message;
//!     }
//!     delivery.ack.done();
//! }
//! # Ok(()) }
//! ```

pub mod content;

mod client;
mod error;
mod export;
mod files;
mod gateway;
mod ids;
mod keys;
mod receive;
mod sealing;
mod send;
mod trust;
mod vault_keys;

pub use client::{Client, Number, Progress, Settings};
pub use content::{Content, ContentError};
pub use error::SdkError;
pub use export::{ExportError, Exported, open_export};
pub use files::{KeyFileError, read_or_make_secret, read_secret, read_text};
pub use gateway::Token;
pub use ids::{DeliveryStatus, IdempotencyKey, parse_wamid, wamid};
pub use keys::{BusinessKeys, KeyFiles, Pins};
pub use receive::{
    Ack, CallerRemembers, Delivery, EventStream, IdentityChange, Incoming, Message, RecentlySeen,
    Refusal, ReplayKey, Seen, StatusUpdate, Subscription, Warning,
};
pub use sealpost_envelope::{
    Category, Direction, EnvelopeError, Fingerprint, MessageId, NumberId, Peer, Secret, UnixMillis,
};
pub use send::{Accepted, Outbound};
pub use trust::TrustError;
