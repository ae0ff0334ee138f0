//! Appending: what is kept, what is a repeat, what is refused.

use bytes::Bytes;
use sealpost_proto::{
    record::v1::{Direction, EpochId},
    store::v1::{
        EventKind, GetRecordRequest, HasEnvelopeRequest, MessageStatus,
        append_inbound_outcome::Outcome as In, append_outbound_outcome::Outcome as Out,
    },
};
use sealpost_runtime::status::reason_of;
use tonic::Code;

use crate::bench::{Bench, MONTH, NUMBER, START, digest, id, inbound, outbound, record};

#[tokio::test]
async fn a_retry_gets_the_first_answer_and_another_content_conflicts() {
    let bench = Bench::new().await;
    let first = bench.append(vec![outbound(1, 1, 1)]).await;
    let Out::Appended(kept) = &first[0] else {
        panic!("{first:?}")
    };
    assert_eq!(kept.appended_at_ms, bench.now_ms());
    assert_eq!(kept.status(), MessageStatus::Accepted);

    bench.advance(5);
    bench.move_to(1, MessageStatus::Sent).await;
    // The vault seals anew on every try, so bytes and sequence differ; the digest does not.
    let mut again = outbound(1, 1, 2);
    again.record.as_mut().unwrap().sealed = Bytes::from_static(b"sealed anew");
    let mut other = outbound(1, 1, 3);
    other.digest = digest(99);
    let outcomes = bench.append(vec![again, other]).await;
    let Out::Repeated(repeated) = &outcomes[0] else {
        panic!("{outcomes:?}")
    };
    assert_eq!(repeated.appended_at_ms, kept.appended_at_ms);
    assert_eq!(repeated.status(), MessageStatus::Sent);
    assert!(matches!(outcomes[1], Out::Conflict(_)));

    let found = get(&bench, 1, Direction::Outbound).await.unwrap();
    assert_eq!(found.record, Some(record(Direction::Outbound, 1, 1, 1)));
}

#[tokio::test]
async fn a_repeat_within_one_batch_is_seen() {
    let bench = Bench::new().await;
    let outcomes = bench
        .append(vec![outbound(1, 1, 1), outbound(1, 1, 1)])
        .await;
    assert!(matches!(outcomes[0], Out::Appended(_)));
    assert!(matches!(outcomes[1], Out::Repeated(_)));
}

#[tokio::test]
async fn an_epoch_that_closed_long_ago_takes_no_outbound_record_but_still_knows_its_own() {
    let bench = Bench::new().await;
    bench.append(vec![outbound(1, 1, 1)]).await;
    bench.advance(3_600 + 600);
    let outcomes = bench
        .append(vec![outbound(1, 1, 1), outbound(2, 1, 2)])
        .await;
    assert!(matches!(outcomes[0], Out::Repeated(_)));
    assert!(matches!(outcomes[1], Out::EpochClosed(_)));
}

#[tokio::test]
async fn an_epoch_past_its_time_takes_nothing_though_the_vault_be_silent() {
    let bench = Bench::new().await;
    bench.append(vec![outbound(1, 1, 1)]).await;
    bench.append_inbound(vec![inbound(1, 1)]).await;
    bench.advance(u64::from(MONTH));

    let outcomes = bench.append(vec![outbound(1, 1, 1)]).await;
    assert!(matches!(outcomes[0], Out::EpochClosed(_)));
    let outcomes = bench.append_inbound(vec![inbound(2, 1)]).await;
    assert!(matches!(outcomes[0], In::EpochClosed(_)));

    for direction in [Direction::Outbound, Direction::Inbound] {
        let refused = get(&bench, 1, direction).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert_eq!(reason_of(&refused).as_deref(), Some("EPOCH_EXPIRED"));
    }
    let events = bench.events(0, 10).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].record, None);
}

#[tokio::test]
async fn a_message_id_is_free_again_when_its_epoch_is_over() {
    let bench = Bench::new().await;
    bench.append(vec![outbound(1, 1, 1)]).await;
    bench.move_to(1, MessageStatus::Sent).await;
    bench.advance(u64::from(MONTH));
    let mut later = outbound(1, 1, 9);
    later.digest = digest(77);
    later.record.as_mut().unwrap().epoch = Some(EpochId {
        retention_seconds: MONTH,
        start_seconds: START + u64::from(MONTH),
    });
    let outcomes = bench.append(vec![later]).await;
    assert!(matches!(outcomes[0], Out::Appended(_)));
    assert_eq!(bench.events(0, 10).await.len(), 0);
}

#[tokio::test]
async fn inbound_records_are_kept_once_by_envelope_and_by_message() {
    let bench = Bench::new().await;
    let mut resent = inbound(1, 1);
    resent.ciphertext_sha256 = digest(50);
    let outcomes = bench
        .append_inbound(vec![inbound(1, 1), inbound(1, 1), resent])
        .await;
    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(outcome, In::Appended(_)))
    );
    assert_eq!(bench.events(0, 10).await.len(), 1);
    for (envelope, kept) in [(1, true), (50, true), (51, false)] {
        let request = HasEnvelopeRequest {
            phone_number_id: NUMBER.into(),
            ciphertext_sha256: digest(envelope),
        };
        let answer = bench.client.clone().has_envelope(request).await.unwrap();
        assert_eq!(answer.into_inner().kept, kept);
    }
}

#[tokio::test]
async fn an_envelope_that_brought_a_known_message_brings_no_other_in_the_same_batch() {
    let bench = Bench::new().await;
    bench.append_inbound(vec![inbound(1, 1)]).await;
    let (mut resent, mut other) = (inbound(1, 1), inbound(2, 1));
    resent.ciphertext_sha256 = digest(50);
    other.ciphertext_sha256 = digest(50);
    let outcomes = bench.append_inbound(vec![resent, other]).await;
    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(outcome, In::Appended(_)))
    );
    assert_eq!(bench.events(0, 10).await.len(), 1);
}

#[tokio::test]
async fn two_consumers_may_choose_the_same_message_id() {
    let bench = Bench::new().await;
    let mut other = inbound(1, 2);
    other.ciphertext_sha256 = digest(50);
    bench.append_inbound(vec![inbound(1, 1)]).await;
    bench.advance(1);
    bench.append_inbound(vec![other]).await;

    let tags: Vec<_> = bench.events(0, 10).await;
    let tags: Vec<_> = tags
        .into_iter()
        .map(|event| event.record.unwrap().tag)
        .collect();
    assert_eq!(tags, [id(1), id(2)]);
    let first = get(&bench, 1, Direction::Inbound).await.unwrap();
    assert_eq!(first.record.unwrap().tag, id(1));
}

#[tokio::test]
async fn a_changed_identity_is_an_event_before_the_message() {
    let bench = Bench::new().await;
    let mut item = inbound(1, 1);
    item.identity_changed = true;
    bench.append_inbound(vec![item.clone(), item]).await;
    let kinds: Vec<_> = bench
        .events(0, 10)
        .await
        .iter()
        .map(sealpost_proto::store::v1::StoredEvent::kind)
        .collect();
    assert_eq!(kinds, [EventKind::IdentityChanged, EventKind::Message]);
}

#[tokio::test]
async fn a_malformed_item_fails_its_batch_and_names_the_field() {
    use tonic_types::StatusExt;
    let bench = Bench::new().await;
    let mut bad = outbound(2, 1, 2);
    bad.digest = Bytes::from_static(b"short");
    let refused = bench
        .try_append(vec![outbound(1, 1, 1), bad])
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let details = refused.get_error_details();
    let violations = &details.bad_request().unwrap().field_violations;
    assert_eq!(violations[0].field, "items[1].digest");
    assert_eq!(
        get(&bench, 1, Direction::Outbound)
            .await
            .unwrap_err()
            .code(),
        Code::NotFound
    );
}

async fn get(
    bench: &Bench,
    message: u8,
    direction: Direction,
) -> Result<sealpost_proto::store::v1::GetRecordResponse, tonic::Status> {
    let request = GetRecordRequest {
        phone_number_id: NUMBER.into(),
        message_id: id(message),
        direction: direction.into(),
    };
    let answer = bench.client.clone().get_record(request).await?;
    Ok(answer.into_inner())
}
