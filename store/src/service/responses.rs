//! Writing answers.

use bytes::Bytes;
use sealpost_proto::store::v1::{
    AdvanceStatusOutcome, AdvanceStatusResponse, AppendConflict, AppendEpochClosed,
    AppendInboundOutcome, AppendInboundResponse, AppendOutboundOutcome, AppendOutboundResponse,
    Appended, EventKind as WireKind, GetRecordResponse, KeptRecord, LeaseDispatchResponse,
    LeasedRecord, ListEventsResponse, ListSubjectResponse, ListSubscriptionsResponse,
    MessageStatus, NumberDeparted, StoredEvent, StoredSubscription, TableRows,
    append_inbound_outcome, append_outbound_outcome,
};
use sealpost_runtime::Timestamp;

use crate::{
    budget::Budget,
    datastore::{Erased, Hands, InboundOutcome, OutboundOutcome, PersonRecord, Progress},
    progress::Status,
    record::Record,
    tables::{
        cursors::Subscribed,
        events::{Event, EventKind},
        outbound::OutboundRecord,
        outbound_leases::Leased,
    },
};

pub(super) fn outbound(batch_id: u64, outcomes: Vec<OutboundOutcome>) -> AppendOutboundResponse {
    use append_outbound_outcome::Outcome;
    let outcomes = outcomes.into_iter().map(|outcome| match outcome {
        OutboundOutcome::Appended(at, hands) => {
            count("outbound", "appended");
            Outcome::Appended(waiting(at, Status::Accepted, hands))
        }
        OutboundOutcome::Repeated(at, status, hands) => {
            count("outbound", "repeated");
            Outcome::Repeated(waiting(at, status, hands))
        }
        OutboundOutcome::Conflict => {
            count("outbound", "conflict");
            Outcome::Conflict(AppendConflict {})
        }
        OutboundOutcome::EpochClosed => {
            count("outbound", "epoch_closed");
            Outcome::EpochClosed(AppendEpochClosed {})
        }
        OutboundOutcome::NumberDeparted => {
            count("outbound", "number_departed");
            Outcome::NumberDeparted(NumberDeparted {})
        }
    });
    let outcomes = outcomes.map(|outcome| AppendOutboundOutcome {
        outcome: Some(outcome),
    });
    AppendOutboundResponse {
        batch_id,
        outcomes: outcomes.collect(),
    }
}

pub(super) fn inbound(batch_id: u64, outcomes: Vec<InboundOutcome>) -> AppendInboundResponse {
    use append_inbound_outcome::Outcome;
    let outcomes = outcomes.into_iter().map(|outcome| match outcome {
        InboundOutcome::Appended(at) => {
            count("inbound", "appended");
            Outcome::Appended(Appended {
                appended_at_ms: at.as_millis(),
                ..Appended::default()
            })
        }
        InboundOutcome::EpochClosed => {
            count("inbound", "epoch_closed");
            Outcome::EpochClosed(AppendEpochClosed {})
        }
        InboundOutcome::NumberDeparted => {
            count("inbound", "number_departed");
            Outcome::NumberDeparted(NumberDeparted {})
        }
    });
    let outcomes = outcomes.map(|outcome| AppendInboundOutcome {
        outcome: Some(outcome),
    });
    AppendInboundResponse {
        batch_id,
        outcomes: outcomes.collect(),
    }
}

fn count(direction: &'static str, outcome: &'static str) {
    metrics::counter!("sealpost_store_appends_total", "direction" => direction, "outcome" => outcome)
        .increment(1);
}

fn waiting(at: Timestamp, status: Status, hands: Hands) -> Appended {
    Appended {
        appended_at_ms: at.as_millis(),
        status: wire_status(status).into(),
        in_other_hands: hands == Hands::Other,
    }
}

pub(super) fn progress(batch_id: u64, moved: Vec<Progress>) -> AdvanceStatusResponse {
    let outcomes = moved.into_iter().map(|progress| AdvanceStatusOutcome {
        moved: progress == Progress::Moved,
        number_departed: progress == Progress::NumberDeparted,
    });
    AdvanceStatusResponse {
        batch_id,
        outcomes: outcomes.collect(),
    }
}

pub(super) fn leased(leased: Vec<Leased>) -> LeaseDispatchResponse {
    metrics::counter!("sealpost_store_records_leased_total").increment(leased.len() as u64);
    let records = leased.into_iter().map(|leased| LeasedRecord {
        record: Some(leased.record.into_wire()),
        attempt: leased.attempt,
        appended_at_ms: leased.appended_at.as_millis(),
    });
    LeaseDispatchResponse {
        records: records.collect(),
    }
}

pub(super) fn outbound_record(found: OutboundRecord) -> GetRecordResponse {
    GetRecordResponse {
        record: Some(found.record.into_wire()),
        status: wire_status(found.status).into(),
        status_at_ms: found.status_at.as_millis(),
        error_code: found.error_code,
        attempt: found.attempt,
    }
}

pub(super) fn inbound_record(record: Record) -> GetRecordResponse {
    GetRecordResponse {
        record: Some(record.into_wire()),
        ..GetRecordResponse::default()
    }
}

pub(super) fn tables(erased: &Erased) -> Vec<TableRows> {
    let row = |(table, rows): &(&'static str, u64)| TableRows {
        table: (*table).to_owned(),
        rows: *rows,
    };
    erased.tables.iter().map(row).collect()
}

/// No more than fit into an answer; the rest is the next page's.
pub(super) fn person(found: Vec<PersonRecord>) -> ListSubjectResponse {
    let mut budget = Budget::page();
    let mut records = Vec::new();
    for found in found {
        if !budget.spend(found.record.sealed.len()) {
            break;
        }
        records.push(KeptRecord {
            record: Some(found.record.into_wire()),
            status: found
                .status
                .map_or(MessageStatus::Unspecified, wire_status)
                .into(),
            appended_at_ms: found.appended_at.as_millis(),
        });
    }
    ListSubjectResponse { records }
}

pub(super) fn events(events: Vec<Event>) -> ListEventsResponse {
    ListEventsResponse {
        events: events.into_iter().map(event).collect(),
    }
}

fn event(event: Event) -> StoredEvent {
    let (kind, status, error_code) = match event.kind {
        EventKind::Message => (WireKind::Message, MessageStatus::Unspecified, 0),
        EventKind::Status(status, code) => (WireKind::Status, wire_status(status), code),
        EventKind::IdentityChanged => (WireKind::IdentityChanged, MessageStatus::Unspecified, 0),
    };
    StoredEvent {
        cursor: event.cursor,
        kind: kind.into(),
        record: event.record.map(Record::into_wire),
        status: status.into(),
        time_ms: event.happened_at.as_millis(),
        error_code,
        message_id: event
            .message_id
            .map_or_else(Bytes::new, |id| Bytes::copy_from_slice(id.as_slice())),
    }
}

pub(super) fn subscriptions(listed: Vec<Subscribed>) -> ListSubscriptionsResponse {
    let subscriptions = listed.into_iter().map(|one| StoredSubscription {
        subscription: one.subscription.as_str().to_owned(),
        phone_number_id: one.number.as_str().to_owned(),
        cursor: one.cursor,
        newest_cursor: one.newest,
        used_at_ms: one.used_at.as_millis(),
    });
    ListSubscriptionsResponse {
        subscriptions: subscriptions.collect(),
    }
}

fn wire_status(status: Status) -> MessageStatus {
    match status {
        Status::Accepted => MessageStatus::Accepted,
        Status::Sent => MessageStatus::Sent,
        Status::Delivered => MessageStatus::Delivered,
        Status::Read => MessageStatus::Read,
        Status::Failed => MessageStatus::Failed,
    }
}
