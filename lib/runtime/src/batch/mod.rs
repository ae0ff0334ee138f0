//! Batches on the hot hops: a bidirectional stream on which the client sends `{batch_id, items}` and the server answers
//! each with `{batch_id, outcomes}` of the same length and order.
//!
//! Owns the queue, the order and the broken stream, and knows nothing of what an item is. Its contract: batches go one
//! after another, so items keep their order; **a stream that ends with OK has answered every batch that was begun**, so
//! a batch without an answer may then be sent again; after any other end nobody knows what became of the batches in
//! flight.
//!
//! [`Gather`] is the same inside one process: many callers, one batch at a time.

mod gather;
mod lane;
mod serve;

pub use gather::Gather;
pub use lane::{BatchLane, Hop, LaneError, LaneSettings, Reply};
pub use serve::{BatchAnswers, serve_batches};

#[cfg(test)]
mod tests;
