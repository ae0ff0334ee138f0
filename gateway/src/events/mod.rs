//! What businesses are told: messages, statuses, identity changes, from the store's events.
//!
//! Each named subscription has a cursor for each number, kept by the store; events after it are sent until acknowledged. Content is
//! sealed by the vault and passes unread. Of two streams of a subscription the store believes the newer, whatever gateway has it; the older one
//! ends. Invariants: a subscriber sees a number's events by ascending cursor; the wrap of a content
//! key precedes its first use on a stream; a subscriber that does not read holds a bounded amount of memory.

mod answers;
mod contents;
mod cursors;
mod feed;
mod sealing;
mod stream;
mod subscription;

pub use answers::Answers;
pub use contents::{Contents, StatusHeaders, Wraps};
pub use feed::{Feed, Listener, News, watch_events};
pub use stream::Events;
pub use subscription::{Fetch, Fetched, Subscription};
