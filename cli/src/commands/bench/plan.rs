//! What a run is: the coordinator tells it to its drivers as one JSON line.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Which way messages flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Flow {
    /// From the business to its consumers.
    Out,
    /// From consumers to the business.
    In,
}

impl Flow {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::In => "in",
        }
    }
}

/// A run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Tells its messages from those of other runs.
    pub run: u32,
    /// The suite's folder.
    pub dir: PathBuf,
    /// The socket over which drivers tell each other what they decrypted.
    pub link: PathBuf,
    /// One direction, or both at once.
    pub flows: Vec<Flow>,
    /// Consumers, each with a device.
    pub consumers: usize,
    /// The suite's numbers that take part.
    pub numbers: usize,
    /// Characters of each text.
    pub size: usize,
    /// Messages of one direction that may be sent and not decrypted.
    pub in_flight: usize,
    /// Messages a second on a fixed schedule; as many as the window lets through when there is none.
    pub rate: Option<f64>,
    /// So many and no more, after the warm-up.
    pub messages: Option<u64>,
    /// Each message is the first of its conversation.
    pub new_sessions: bool,
    /// The first consumer's phone number; the others' follow.
    pub first_phone: u64,
}

impl Plan {
    /// Conversations: every consumer and every number has at least one.
    pub fn conversations(&self) -> usize {
        self.consumers.max(self.numbers)
    }

    /// Whose that conversation is.
    pub fn consumer(&self, conversation: usize) -> usize {
        conversation % self.consumers
    }

    /// Which number's.
    pub fn number(&self, conversation: usize) -> usize {
        conversation % self.numbers
    }

    /// The phone number of a consumer.
    pub fn phone(&self, consumer: usize) -> String {
        (self.first_phone + consumer as u64).to_string()
    }

    /// Whether messages flow that way.
    pub fn has(&self, flow: Flow) -> bool {
        self.flows.contains(&flow)
    }

    /// Whether each conversation begins with a message each way that does not count, so that its session is in its steady state.
    pub fn is_primed(&self) -> bool {
        !self.new_sessions
    }
}
