//! The service over a real database, called as the transport calls it.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use ring::digest::{SHA256, digest};
use sealpost_database::testing::TestDatabase;
use sealpost_runtime::{Timestamp, status::reason_of};
use tonic::Code;
use tonic_types::StatusExt;

use super::*;
use crate::{
    datastore::{MoveState, Step},
    ids::Region,
};

struct Fixture {
    directory: Directory,
    clock: Clock,
    place: TestDatabase,
}

impl Fixture {
    async fn new() -> Self {
        Self::on(TestDatabase::chosen().await).await
    }

    async fn on(place: TestDatabase) -> Self {
        let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
        let datastore = Datastore::open(place.config()).await.unwrap();
        let directory = Directory::new(datastore, clock.clone());
        Self {
            directory,
            clock,
            place,
        }
    }

    async fn business(&self, name: &str) -> String {
        let request = Request::new(wire::CreateBusinessRequest { name: name.into() });
        let answer = self
            .directory
            .create_business(request)
            .await
            .unwrap()
            .into_inner();
        answer.business.unwrap().business_id
    }

    async fn create(&self, number: wire::Number) -> Result<wire::Number, Status> {
        let request = Request::new(wire::CreateNumberRequest {
            number: Some(number),
        });
        let answer = self.directory.create_number(request).await?;
        Ok(answer.into_inner().number.unwrap())
    }

    async fn number(&self, business: &str, phone_number: &str) -> wire::Number {
        self.create(wish(business, phone_number)).await.unwrap()
    }

    async fn token(
        &self,
        wish: wire::IssueTokenRequest,
    ) -> Result<wire::IssueTokenResponse, Status> {
        Ok(self
            .directory
            .issue_token(Request::new(wish))
            .await?
            .into_inner())
    }

    async fn authenticate(&self, token: &str) -> Result<wire::AuthenticateTokenResponse, Status> {
        let token_sha256 = digest(&SHA256, token.as_bytes()).as_ref().to_vec().into();
        let request = Request::new(wire::AuthenticateTokenRequest { token_sha256 });
        Ok(self
            .directory
            .authenticate_token(request)
            .await?
            .into_inner())
    }
}

fn wish(business: &str, phone_number: &str) -> wire::Number {
    wire::Number {
        business_id: business.into(),
        phone_number: phone_number.into(),
        region: "eu".into(),
        display_name: "Bakery".into(),
        ..Default::default()
    }
}

fn token_wish(business: &str, numbers: &[&str]) -> wire::IssueTokenRequest {
    wire::IssueTokenRequest {
        business_id: business.into(),
        phone_number_ids: numbers.iter().map(|id| (*id).to_owned()).collect(),
        scopes: vec![wire::Scope::Send as i32, wire::Scope::ReadNumbers as i32],
        ..Default::default()
    }
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.unwrap_err();
    (status.code(), reason_of(&status).unwrap())
}

#[tokio::test]
async fn a_phone_number_belongs_to_one_number_only() {
    let fixture = Fixture::new().await;
    let (ours, theirs) = (
        fixture.business("Ours").await,
        fixture.business("Theirs").await,
    );
    fixture.number(&ours, "4930123456").await;
    let again = fixture.create(wish(&theirs, "4930123456")).await;
    assert_eq!(
        refused(again),
        (Code::AlreadyExists, "PHONE_NUMBER_TAKEN".into())
    );
}

#[tokio::test]
async fn a_number_asked_for_again_by_its_id_is_the_same_and_another_one_is_refused() {
    let fixture = Fixture::new().await;
    let business = fixture.business("Bakery").await;
    let mut number = wish(&business, "4930123456");
    number.phone_number_id = "777".into();
    let first = fixture.create(number.clone()).await.unwrap();
    fixture.clock.advance(Duration::from_secs(60));
    assert_eq!(fixture.create(number.clone()).await.unwrap(), first);
    number.region = "na".into();
    let other = fixture.create(number).await;
    assert_eq!(
        refused(other),
        (Code::AlreadyExists, "PHONE_NUMBER_ID_TAKEN".into())
    );
}

#[tokio::test]
async fn a_number_needs_a_business_that_exists() {
    let fixture = Fixture::new().await;
    let nobody = "3f2b8c1e-0d4a-4e6f-9a7b-112233445566";
    let answer = fixture.create(wish(nobody, "4930123456")).await;
    assert_eq!(refused(answer), (Code::NotFound, "BUSINESS_UNKNOWN".into()));
}

#[tokio::test]
async fn pages_hold_everything_once_and_in_order() {
    let fixture = Fixture::new().await;
    let (ours, theirs) = (
        fixture.business("Ours").await,
        fixture.business("Theirs").await,
    );
    for index in 0..5 {
        fixture.number(&ours, &format!("493012345{index}")).await;
    }
    fixture.number(&theirs, "4930999999").await;

    let (mut found, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let request = wire::ListNumbersRequest {
            business_id: ours.clone(),
            page_size: 2,
            page_token: token,
        };
        let page = fixture
            .directory
            .list_numbers(Request::new(request))
            .await
            .unwrap()
            .into_inner();
        found.extend(
            page.numbers
                .into_iter()
                .map(|number| number.phone_number_id),
        );
        pages += 1;
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((found.len(), pages), (5, 3));
    assert!(found.is_sorted());

    let all = Request::new(wire::ListNumbersRequest::default());
    assert_eq!(
        fixture
            .directory
            .list_numbers(all)
            .await
            .unwrap()
            .into_inner()
            .numbers
            .len(),
        6
    );
    let businesses = Request::new(wire::ListBusinessesRequest {
        page_size: 1,
        page_token: String::new(),
    });
    let page = fixture
        .directory
        .list_businesses(businesses)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(page.next_page_token, page.businesses[0].business_id);
}

#[tokio::test]
async fn a_token_acts_for_the_numbers_and_scopes_it_was_made_for() {
    let fixture = Fixture::new().await;
    let business = fixture.business("Bakery").await;
    let one = fixture.number(&business, "4930123451").await;
    let all = fixture.token(token_wish(&business, &[])).await.unwrap();
    let single = fixture
        .token(token_wish(&business, &[&one.phone_number_id]))
        .await
        .unwrap();
    fixture.number(&business, "4930123452").await;

    let found = fixture.authenticate(&single.token).await.unwrap();
    assert_eq!(found.numbers, [one]);
    assert_eq!((found.scopes, found.expires_at_ms), (vec![1, 3], 0));
    assert_eq!(
        (found.token_id, found.business_id),
        (single.token_id, business)
    );
    assert_eq!(
        fixture
            .authenticate(&all.token)
            .await
            .unwrap()
            .numbers
            .len(),
        2
    );
}

#[tokio::test]
async fn a_token_cannot_name_another_businesss_number_and_is_not_made_then() {
    let fixture = Fixture::new().await;
    let (ours, theirs) = (
        fixture.business("Ours").await,
        fixture.business("Theirs").await,
    );
    let foreign = fixture.number(&theirs, "4930123456").await;
    let answer = fixture
        .token(token_wish(&ours, &[&foreign.phone_number_id]))
        .await;
    assert_eq!(refused(answer), (Code::NotFound, "NUMBER_UNKNOWN".into()));
}

#[tokio::test]
async fn unknown_ended_and_revoked_tokens_get_the_same_answer() {
    let fixture = Fixture::new().await;
    let business = fixture.business("Bakery").await;
    let no = (Code::NotFound, "TOKEN_UNKNOWN".to_owned());
    assert_eq!(refused(fixture.authenticate("sp_nothing").await), no);

    let ends = fixture.clock.now().as_millis() + 1000;
    let ending = wire::IssueTokenRequest {
        expires_at_ms: ends,
        ..token_wish(&business, &[])
    };
    let ending = fixture.token(ending).await.unwrap();
    assert_eq!(
        fixture
            .authenticate(&ending.token)
            .await
            .unwrap()
            .expires_at_ms,
        ends
    );
    fixture.clock.advance(Duration::from_millis(1000));
    assert_eq!(refused(fixture.authenticate(&ending.token).await), no);

    let revoked = fixture.token(token_wish(&business, &[])).await.unwrap();
    let request = wire::RevokeTokenRequest {
        token_id: revoked.token_id.clone(),
    };
    for _ in 0..2 {
        fixture
            .directory
            .revoke_token(Request::new(request.clone()))
            .await
            .unwrap();
    }
    assert_eq!(refused(fixture.authenticate(&revoked.token).await), no);
    let nobody = wire::RevokeTokenRequest { token_id: business };
    assert_eq!(
        refused(fixture.directory.revoke_token(Request::new(nobody)).await),
        no
    );
}

#[tokio::test]
async fn a_tokens_text_is_in_no_file_of_the_database() {
    let fixture = Fixture::on(TestDatabase::sqlite()).await;
    let business = fixture.business("Bakery").await;
    let issued = fixture.token(token_wish(&business, &[])).await.unwrap();
    fixture.directory.datastore.close().await.unwrap();
    let random = issued.token.strip_prefix("sp_").unwrap();
    let (mut files, mut names_the_business) = (0, false);
    for entry in std::fs::read_dir(fixture.place.folder()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let holds = |text: &str| {
            bytes
                .windows(text.len())
                .any(|window| window == text.as_bytes())
        };
        assert!(!holds(random));
        names_the_business |= holds("Bakery");
        files += 1;
    }
    // The search finds what is there.
    assert!(files > 0 && names_the_business);
}

#[tokio::test]
async fn keys_are_kept_with_their_business() {
    let fixture = Fixture::new().await;
    let business = fixture.business("Bakery").await;
    let keys = wire::SetBusinessKeysRequest {
        business_id: business.clone(),
        hpke_public_key: vec![1; 1216].into(),
        signing_public_key: vec![2; 32].into(),
    };
    fixture
        .directory
        .set_business_keys(Request::new(keys.clone()))
        .await
        .unwrap();
    let request = Request::new(wire::ListBusinessesRequest::default());
    let found = fixture
        .directory
        .list_businesses(request)
        .await
        .unwrap()
        .into_inner()
        .businesses;
    assert_eq!(found[0].hpke_public_key, keys.hpke_public_key);
    assert_eq!(found[0].signing_public_key, keys.signing_public_key);

    let nobody = wire::SetBusinessKeysRequest {
        business_id: "3f2b8c1e-0d4a-4e6f-9a7b-112233445566".into(),
        ..keys
    };
    let answer = fixture
        .directory
        .set_business_keys(Request::new(nobody))
        .await;
    assert_eq!(refused(answer), (Code::NotFound, "BUSINESS_UNKNOWN".into()));
}

#[tokio::test]
async fn garbage_is_answered_with_the_name_of_the_field() {
    let fixture = Fixture::new().await;
    let request = Request::new(wire::GetNumberRequest {
        phone_number_id: "' OR 1".into(),
    });
    let status = fixture.directory.get_number(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    assert_eq!(
        details.bad_request().unwrap().field_violations[0].field,
        "phone_number_id"
    );
    assert!(!status.message().contains("OR"));

    let request = Request::new(wire::AuthenticateTokenRequest {
        token_sha256: vec![0; 31].into(),
    });
    let status = fixture
        .directory
        .authenticate_token(request)
        .await
        .unwrap_err();
    let details = status.get_error_details();
    assert_eq!(
        details.bad_request().unwrap().field_violations[0].field,
        "token_sha256"
    );
}

#[tokio::test]
async fn a_move_goes_its_steps_in_order_and_is_remembered_with_who_asked() {
    let fixture = Fixture::new().await;
    let business = fixture.business("Bakery").await;
    let number = fixture.number(&business, "4930123456").await;
    let id = number.phone_number_id;
    let datastore = &fixture.directory.datastore;
    let (eu, na) = (Region::parse("eu").unwrap(), Region::parse("na").unwrap());
    let key = PhoneNumberId::parse(&id).unwrap();
    let begin = |seed: u8, to: &Region| {
        let (key, to) = (key.clone(), to.clone());
        datastore.begin_move(Uuid::from_random([seed; 16]), key, to, "somebody".into(), 1)
    };
    let there = begin(1, &eu).await.unwrap_err();
    assert!(matches!(there, DirectoryError::Malformed { .. }));
    let begun = begin(1, &na).await.unwrap();
    // Asked for again it is the same, and no other can begin.
    assert_eq!(begin(2, &na).await.unwrap().move_id, begun.move_id);
    let other = Region::parse("sa").unwrap();
    let refused = begin(3, &other).await.unwrap_err();
    assert!(matches!(refused, DirectoryError::NumberMoving));

    let seen = || async {
        let number = datastore.number(key.clone()).await.unwrap();
        let moving = number.moving_to.map(|to| to.as_str().to_owned());
        (number.region.as_str().to_owned(), moving)
    };
    assert_eq!(seen().await, ("eu".into(), Some("na".into())));
    let advance = |state, rows| {
        let move_id = begun.move_id;
        let step = Step {
            move_id,
            state,
            rows,
        };
        async move { datastore.advance_move(step, 2).await.unwrap().state }
    };
    use MoveState::{Asked, Done, Failed, Switched};
    assert_eq!(advance(Done, 0).await, Asked, "nothing was switched");
    assert_eq!(advance(Switched, 7).await, Switched);
    assert_eq!(seen().await, ("na".into(), None));
    assert_eq!(advance(Failed, 0).await, Switched);
    assert_eq!(advance(Done, 7).await, Done);
    assert_eq!(advance(Failed, 0).await, Done);
    let moves = datastore.list_moves(Some(key.clone()), false, i64::MAX, 10);
    let [remembered] = &moves.await.unwrap()[..] else {
        panic!("one move");
    };
    assert_eq!(
        (remembered.rows, remembered.asked_by.as_str()),
        (7, "somebody")
    );
    assert_eq!(
        (remembered.switched_at, remembered.finished_at),
        (Some(2), Some(2))
    );

    // One that cannot be leaves the number where it is.
    let begun = begin(4, &eu).await.unwrap();
    let step = Step {
        move_id: begun.move_id,
        state: Failed,
        rows: 0,
    };
    assert_eq!(datastore.advance_move(step, 3).await.unwrap().state, Failed);
    assert_eq!(seen().await, ("na".into(), None));
    let open = datastore
        .list_moves(None, true, i64::MAX, 10)
        .await
        .unwrap();
    assert!(open.is_empty());
}
