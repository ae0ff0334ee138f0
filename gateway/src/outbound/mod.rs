//! From businesses to consumers.
//!
//! [`Admission`] takes a message in: the vault admits it, the store keeps it, and then it is accepted. [`Dispatcher`] carries
//! accepted messages to the relay, conversation by conversation. [`Recovery`] brings back what the store has and no queue holds.
//! Invariants: nothing is answered "accepted" that the store does not keep; a conversation's messages reach the relay in the
//! vault's sequence, one at a time; what is answered is dispatched or recovered, whatever its caller does meanwhile.

mod admission;
mod delivery;
mod dispatcher;
mod pipeline;
mod places;
mod recovery;
mod steps;

pub use admission::Admission;
pub use delivery::Delivery;
pub use dispatcher::{Accepted, Dispatcher};
pub use pipeline::send_stream;
pub use places::{Place, Places};
pub use recovery::Recovery;
pub use steps::{Addressed, Ending, Next, Step, codes};
