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

/// Somebody who misbehaves while the run is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Beside {
    /// Nobody
    #[default]
    Nobody,
    /// A consumer that never reads, and whom the business writes to all the time
    Stuck,
    /// A number of its own that sends as much as it is let, over a connection of its own
    Flood,
}

impl Beside {
    /// Numbers that it needs beside those that count.
    pub const fn numbers(self) -> usize {
        match self {
            Self::Nobody | Self::Stuck => 0,
            Self::Flood => 1,
        }
    }

    /// Consumers that it needs beside those that count.
    pub const fn consumers(self) -> usize {
        match self {
            Self::Nobody => 0,
            Self::Stuck => 1,
            // A conversation has one message on its way at a time: one alone floods nobody.
            Self::Flood => 64,
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
    /// Messages each way with which each conversation begins, which do not count.
    pub turns: u32,
    /// The first consumer's phone number; the others' follow.
    pub first_phone: u64,
    /// Whether a refusal is counted and no failure; then nothing holds back a message whose turn has come.
    #[serde(default)]
    pub counts_refusals: bool,
    /// The rate after the stretch that counts, for as long again.
    #[serde(default)]
    pub then_rate: Option<f64>,
    /// Who misbehaves meanwhile.
    #[serde(default)]
    pub beside: Beside,
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

    /// Consumers in all, those included that do not count.
    pub fn everybody(&self) -> usize {
        self.consumers + self.beside.consumers()
    }

    /// The phone number of a consumer.
    pub fn phone(&self, consumer: usize) -> String {
        (self.first_phone + consumer as u64).to_string()
    }

    /// Whether messages flow that way.
    pub fn has(&self, flow: Flow) -> bool {
        self.flows.contains(&flow)
    }

    /// Whether conversations begin with messages that do not count, so that their sessions are in their steady state.
    pub fn is_primed(&self) -> bool {
        !self.new_sessions
    }
}
