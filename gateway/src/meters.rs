//! What the gateway counts. Labels are fixed words: never a number, a token or anything that a caller said.

use std::time::Duration;

use metrics::{counter, gauge, histogram};
use sealpost_proto::gateway::v1::SendError;

/// A message was accepted, now or before.
pub(crate) fn accepted(repeated: bool) {
    let repeated = if repeated { "true" } else { "false" };
    counter!("sealpost_gateway_accepted_total", "repeated" => repeated).increment(1);
}

/// A message was refused.
pub(crate) fn refused(error: SendError) {
    counter!("sealpost_gateway_refused_total", "reason" => error.as_str_name()).increment(1);
}

/// A message came to its end: `sent` or `failed`, so long after it was accepted.
pub(crate) fn dispatched(outcome: &'static str, after: Duration) {
    counter!("sealpost_gateway_dispatched_total", "outcome" => outcome).increment(1);
    histogram!("sealpost_gateway_dispatch_seconds", "outcome" => outcome)
        .record(after.as_secs_f64());
}

/// A message under way has to wait and try again.
pub(crate) fn dispatch_retried(cause: &'static str) {
    counter!("sealpost_gateway_dispatch_retries_total", "cause" => cause).increment(1);
}

/// Accepted messages in memory.
pub(crate) fn queued(messages: usize) {
    gauge!("sealpost_gateway_queued_messages").set(messages as f64);
}

/// Records taken back from the store.
pub(crate) fn recovered(records: u64) {
    counter!("sealpost_gateway_recovered_total").increment(records);
}

/// A consumer's new identity key was met while sending.
pub(crate) fn identity_changed() {
    counter!("sealpost_gateway_identity_changes_total").increment(1);
}

/// Something from the relay came to its end.
pub(crate) fn inbound(kind: &'static str, outcome: &'static str) {
    counter!("sealpost_gateway_inbound_total", "kind" => kind, "outcome" => outcome).increment(1);
}

/// Something from the relay has to wait and be tried again.
pub(crate) fn inbound_retried(cause: &'static str) {
    counter!("sealpost_gateway_inbound_retries_total", "cause" => cause).increment(1);
}

/// A round trip over a lane took so long.
pub(crate) fn lane(lane: &'static str, took: Duration) {
    histogram!("sealpost_gateway_lane_seconds", "lane" => lane).record(took.as_secs_f64());
}

/// Events went to a subscriber.
pub(crate) fn events_delivered(events: usize) {
    counter!("sealpost_gateway_events_delivered_total").increment(events as u64);
}

/// An event whose content is gone was passed over.
pub(crate) fn event_skipped() {
    counter!("sealpost_gateway_events_skipped_total").increment(1);
}

/// Content for an event came from the cache, or had to be sealed again.
pub(crate) fn content(cached: bool) {
    let source = if cached { "cache" } else { "vault" };
    counter!("sealpost_gateway_event_contents_total", "source" => source).increment(1);
}

/// The directory was asked about a token.
pub(crate) fn token(outcome: &'static str) {
    counter!("sealpost_gateway_token_checks_total", "outcome" => outcome).increment(1);
}

/// A call was turned away because too many are under way.
pub(crate) fn shed(kind: &'static str) {
    counter!("sealpost_gateway_shed_total", "kind" => kind).increment(1);
}
