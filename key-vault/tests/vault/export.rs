//! Export of a person: the business opens what was said, both ways, and nobody else's is in it.

use sealpost_envelope::{Direction, EnvelopeError};
use sealpost_proto::{
    record::v1::Record,
    vault::v1::{
        EraseSubjectRequest, ExportSubjectRequest, ExportSubjectResponse, FindSubjectRequest,
        Refusal, export_outcome::Outcome,
    },
};

use crate::{
    business::Business,
    consumer::{Consumer, PHONE},
    fixture::{Fixture, NUMBER, OTHER_NUMBER},
};

const OTHER: &str = "15557654321";

struct Talk {
    fixture: Fixture,
    business: Business,
    outbound: Record,
    inbound: Record,
    others: Record,
}

async fn talk() -> Talk {
    let fixture = Fixture::new().await;
    let (business, provisioned) = fixture.number(NUMBER, 0).await;
    let mut consumer = Consumer::new(PHONE, NUMBER);
    let now = fixture.now();
    let upload = provisioned.upload.as_ref().unwrap();
    consumer.begin(&fixture.relay, upload, Some(0), now).await;
    let sent = consumer.send(1, "from me", now).await;
    let inbound = fixture.decrypt(sent).await.unwrap().record.unwrap();
    let sealer = business.sealer(&fixture).await;
    let admit = async |peer, id, text| {
        let item = sealer.seal(peer, id, text, now.as_millis());
        fixture.admit(item).await.unwrap().record.unwrap()
    };
    let outbound = admit(PHONE, 2, "to me").await;
    let others = admit(OTHER, 3, "to another").await;
    Talk {
        fixture,
        business,
        outbound,
        inbound,
        others,
    }
}

async fn export(fixture: &Fixture, peer: &str, records: Vec<Record>) -> ExportSubjectResponse {
    let request = ExportSubjectRequest {
        phone_number_id: NUMBER.to_owned(),
        peer: peer.to_owned(),
        records,
    };
    fixture.vault.export_subject(request).await.unwrap()
}

fn refusals(response: &ExportSubjectResponse) -> Vec<Option<Refusal>> {
    let refusal = |outcome: &Option<Outcome>| match outcome.as_ref().unwrap() {
        Outcome::Sealed(_) => None,
        Outcome::Refused(refusal) => Some(Refusal::try_from(*refusal).unwrap()),
    };
    response
        .outcomes
        .iter()
        .map(|item| refusal(&item.outcome))
        .collect()
}

#[tokio::test]
async fn what_went_both_ways_opens_at_the_business_and_for_nobody_else() {
    let talk = talk().await;
    let records = vec![talk.outbound.clone(), talk.inbound.clone()];
    let response = export(&talk.fixture, PHONE, records).await;
    let expected = [
        (Direction::Outbound, "to me"),
        (Direction::Inbound, "from me"),
    ];
    assert_eq!(response.outcomes.len(), 2);
    for (item, (direction, text)) in response.outcomes.iter().zip(expected) {
        let Some(Outcome::Sealed(sealed)) = &item.outcome else {
            panic!("refused");
        };
        let opened = talk.business.open_export(&response.wrap, sealed).unwrap();
        assert_eq!(opened.content.as_bytes(), text.as_bytes());
        assert_eq!(opened.header.direction(), direction);
        assert_eq!(opened.header.peer().expose(), PHONE);
        for open in [PHONE.as_bytes(), text.as_bytes()] {
            assert!(!sealed.windows(open.len()).any(|window| window == open));
        }
        let stranger = Business::new(NUMBER);
        let key = &response.vault_signing_public_key;
        let refused = stranger
            .pin_key(key)
            .open_export(&response.wrap, sealed)
            .err();
        assert_eq!(refused, Some(EnvelopeError::WrongRecipient));
    }
}

#[tokio::test]
async fn another_persons_record_is_refused_whatever_it_is_asked_for_as() {
    let talk = talk().await;
    let disguised = Record {
        tag: talk.outbound.tag.clone(),
        ..talk.others.clone()
    };
    let elsewhere = Record {
        phone_number_id: OTHER_NUMBER.to_owned(),
        ..talk.outbound.clone()
    };
    let records = vec![
        talk.others.clone(),
        disguised,
        elsewhere,
        talk.outbound.clone(),
    ];
    let response = export(&talk.fixture, PHONE, records.clone()).await;
    assert_eq!(
        refusals(&response),
        [
            Some(Refusal::Undecryptable),
            Some(Refusal::Undecryptable),
            Some(Refusal::Malformed),
            None
        ]
    );
    let response = export(&talk.fixture, OTHER, records).await;
    assert_eq!(refusals(&response)[0], None, "it is the other's");
    assert_eq!(refusals(&response)[3], Some(Refusal::Undecryptable));
}

#[tokio::test]
async fn an_erased_person_has_no_tag_and_no_export() {
    let talk = talk().await;
    let find = async || {
        let request = FindSubjectRequest {
            phone_number_id: NUMBER.to_owned(),
            peer: PHONE.to_owned(),
        };
        talk.fixture.vault.find_subject(request).await.unwrap().tag
    };
    assert_eq!(find().await, talk.outbound.tag);
    let request = EraseSubjectRequest {
        phone_number_id: NUMBER.to_owned(),
        peer: PHONE.to_owned(),
    };
    talk.fixture.vault.erase_subject(request).await.unwrap();
    assert!(find().await.is_empty());
    let response = export(&talk.fixture, PHONE, vec![talk.outbound.clone()]).await;
    assert_eq!(refusals(&response), [Some(Refusal::SubjectErased)]);
}

#[tokio::test]
async fn past_its_time_a_record_is_not_exported() {
    let talk = talk().await;
    talk.fixture.advance(31 * 86_400).await;
    let response = export(&talk.fixture, PHONE, vec![talk.outbound.clone()]).await;
    assert_eq!(refusals(&response), [Some(Refusal::EpochExpired)]);
}
