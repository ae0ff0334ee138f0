//! Requests, read strictly: what comes out of here is well-formed.
//!
//! Pure. Errors name the field by its path in the request and repeat nothing of it.

use sealpost_proto::directory::v1 as wire;

use crate::{
    DirectoryError,
    datastore::{MoveState, Step},
    ids::{PhoneNumber, PhoneNumberId, Region, Uuid},
    token::{Scopes, TokenDigest},
};

/// X-Wing public key, bytes.
const HPKE_PUBLIC_KEY: usize = 1216;
/// Ed25519 public key, bytes.
const SIGNING_PUBLIC_KEY: usize = 32;
const MAX_TEXT: usize = 256;
const MAX_PAGE: u32 = 1000;
const DEFAULT_PAGE: u32 = 100;
/// Numbers that one token may name.
const MAX_TOKEN_NUMBERS: usize = 1000;

type Result<T> = std::result::Result<T, DirectoryError>;

/// A number as an operator wishes it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NewNumber {
    /// Chosen by the directory when absent.
    pub(crate) phone_number_id: Option<PhoneNumberId>,
    pub(crate) phone_number: PhoneNumber,
    pub(crate) business_id: Uuid,
    pub(crate) region: Region,
    pub(crate) display_name: String,
    pub(crate) messages_per_second: u32,
}

/// A token as an operator wishes it.
#[derive(Clone, Debug)]
pub(crate) struct NewToken {
    pub(crate) business_id: Uuid,
    /// Empty: all numbers of the business.
    pub(crate) phone_number_ids: Vec<PhoneNumberId>,
    pub(crate) scopes: Scopes,
    /// Milliseconds since the Unix epoch; `None` is never.
    pub(crate) expires_at: Option<i64>,
    pub(crate) description: String,
}

pub(crate) fn business_name(text: String) -> Result<String> {
    bounded_text("name", text, 1)
}

pub(crate) fn business_id(field: &'static str, text: &str) -> Result<Uuid> {
    Uuid::parse(text).ok_or_else(|| DirectoryError::malformed(field, "is no lower-case UUID"))
}

pub(crate) fn phone_number_id(field: impl Into<String>, text: &str) -> Result<PhoneNumberId> {
    PhoneNumberId::parse(text)
        .ok_or_else(|| DirectoryError::malformed(field, "must be 1 to 32 decimal digits"))
}

pub(crate) fn page_size(size: u32) -> Result<u32> {
    match size {
        0 => Ok(DEFAULT_PAGE),
        1..=MAX_PAGE => Ok(size),
        _ => Err(DirectoryError::malformed(
            "page_size",
            "must be at most 1,000",
        )),
    }
}

/// Where a page of businesses begins; an empty token is the start.
pub(crate) fn business_page(token: &str) -> Result<Option<Uuid>> {
    if token.is_empty() {
        return Ok(None);
    }
    business_id("page_token", token).map(Some)
}

/// Where a page of numbers begins; an empty token is the start.
pub(crate) fn number_page(token: &str) -> Result<Option<PhoneNumberId>> {
    if token.is_empty() {
        return Ok(None);
    }
    phone_number_id("page_token", token).map(Some)
}

pub(crate) fn region(field: &'static str, text: &str) -> Result<Region> {
    Region::parse(text)
        .ok_or_else(|| DirectoryError::malformed(field, "must be 1 to 16 of [a-z0-9-]"))
}

pub(crate) fn step(request: &wire::AdvanceNumberMoveRequest) -> Result<Step> {
    Ok(Step {
        move_id: business_id("move_id", &request.move_id)?,
        state: MoveState::parse(request.state.into())
            .ok_or_else(|| DirectoryError::malformed("state", "is unknown"))?,
        rows: request.rows,
    })
}

pub(crate) fn new_number(number: Option<wire::Number>) -> Result<NewNumber> {
    let number = number.ok_or_else(|| DirectoryError::malformed("number", "is missing"))?;
    let id = match number.phone_number_id.as_str() {
        "" => None,
        id => Some(phone_number_id("number.phone_number_id", id)?),
    };
    Ok(NewNumber {
        phone_number_id: id,
        phone_number: PhoneNumber::parse(&number.phone_number).ok_or_else(|| {
            DirectoryError::malformed(
                "number.phone_number",
                "must be 7 to 15 E.164 digits without a plus",
            )
        })?,
        business_id: business_id("number.business_id", &number.business_id)?,
        region: region("number.region", &number.region)?,
        display_name: bounded_text("number.display_name", number.display_name, 0)?,
        messages_per_second: number.messages_per_second,
    })
}

/// The business's HPKE and signing keys. Only lengths are checked: the directory keeps them as information, and
/// whoever relies on one gets it from the vault's registration.
pub(crate) fn business_keys(request: &wire::SetBusinessKeysRequest) -> Result<Uuid> {
    let id = business_id("business_id", &request.business_id)?;
    if request.hpke_public_key.len() != HPKE_PUBLIC_KEY {
        return Err(DirectoryError::malformed(
            "hpke_public_key",
            "must be 1,216 bytes",
        ));
    }
    if request.signing_public_key.len() != SIGNING_PUBLIC_KEY {
        return Err(DirectoryError::malformed(
            "signing_public_key",
            "must be 32 bytes",
        ));
    }
    Ok(id)
}

/// `now` in milliseconds since the Unix epoch.
pub(crate) fn new_token(request: wire::IssueTokenRequest, now: i64) -> Result<NewToken> {
    let business_id = business_id("business_id", &request.business_id)?;
    if request.phone_number_ids.len() > MAX_TOKEN_NUMBERS {
        return Err(DirectoryError::malformed(
            "phone_number_ids",
            "must be at most 1,000",
        ));
    }
    let mut phone_number_ids = request
        .phone_number_ids
        .iter()
        .enumerate()
        .map(|(index, id)| phone_number_id(format!("phone_number_ids[{index}]"), id))
        .collect::<Result<Vec<_>>>()?;
    phone_number_ids.sort();
    phone_number_ids.dedup();

    if request.scopes.is_empty() {
        return Err(DirectoryError::malformed(
            "scopes",
            "must name at least one",
        ));
    }
    let scopes = Scopes::from_wire(&request.scopes)
        .ok_or_else(|| DirectoryError::malformed("scopes", "names an unknown scope"))?;
    let expires_at = match i64::try_from(request.expires_at_ms) {
        Ok(0) => None,
        Ok(time) if time > now => Some(time),
        Ok(_) => return Err(DirectoryError::malformed("expires_at_ms", "is in the past")),
        Err(_) => {
            return Err(DirectoryError::malformed(
                "expires_at_ms",
                "is beyond all time",
            ));
        }
    };
    Ok(NewToken {
        business_id,
        phone_number_ids,
        scopes,
        expires_at,
        description: bounded_text("description", request.description, 0)?,
    })
}

pub(crate) fn token_digest(bytes: &[u8]) -> Result<TokenDigest> {
    TokenDigest::from_slice(bytes)
        .ok_or_else(|| DirectoryError::malformed("token_sha256", "must be 32 bytes"))
}

fn bounded_text(field: &'static str, text: String, least: usize) -> Result<String> {
    let characters = text.chars().count();
    if characters < least {
        return Err(DirectoryError::malformed(field, "is empty"));
    }
    if characters > MAX_TEXT {
        return Err(DirectoryError::malformed(
            field,
            "must be at most 256 characters",
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(DirectoryError::malformed(field, "has a control character"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const BUSINESS: &str = "3f2b8c1e-0d4a-4e6f-9a7b-112233445566";

    fn field_of<T: std::fmt::Debug>(answer: Result<T>) -> String {
        match answer.unwrap_err() {
            DirectoryError::Malformed { field, .. } => field,
            other => panic!("{other}"),
        }
    }

    fn number() -> wire::Number {
        wire::Number {
            phone_number: "4930123456".into(),
            business_id: BUSINESS.into(),
            region: "eu".into(),
            display_name: "Bakery".into(),
            ..Default::default()
        }
    }

    fn token() -> wire::IssueTokenRequest {
        wire::IssueTokenRequest {
            business_id: BUSINESS.into(),
            scopes: vec![1],
            ..Default::default()
        }
    }

    #[test]
    fn a_malformed_number_is_refused_by_the_name_of_its_field() {
        assert_eq!(field_of(new_number(None)), "number");
        type Spoil = fn(&mut wire::Number);
        let cases: [(&str, Spoil); 5] = [
            ("number.phone_number_id", |n| {
                n.phone_number_id = "12a".into();
            }),
            ("number.phone_number", |n| {
                n.phone_number = "+4930123456".into();
            }),
            ("number.business_id", |n| n.business_id = "acme".into()),
            ("number.region", |n| n.region = "EU".into()),
            ("number.display_name", |n| n.display_name = "x".repeat(257)),
        ];
        for (field, spoil) in cases {
            let mut number = number();
            spoil(&mut number);
            assert_eq!(field_of(new_number(Some(number))), field);
        }
        assert!(
            new_number(Some(number()))
                .unwrap()
                .phone_number_id
                .is_none()
        );
    }

    #[test]
    fn a_malformed_token_wish_is_refused_by_the_name_of_its_field() {
        type Spoil = fn(&mut wire::IssueTokenRequest);
        let cases: [(&str, Spoil); 7] = [
            ("business_id", |t| t.business_id.clear()),
            ("phone_number_ids[1]", |t| {
                t.phone_number_ids = vec!["1".into(), "x".into()];
            }),
            ("phone_number_ids", |t| {
                t.phone_number_ids = vec!["1".into(); 1001];
            }),
            ("scopes", |t| t.scopes.clear()),
            ("scopes", |t| t.scopes.push(9)),
            ("expires_at_ms", |t| t.expires_at_ms = 1000),
            ("description", |t| t.description = "a\nb".into()),
        ];
        for (field, spoil) in cases {
            let mut token = token();
            spoil(&mut token);
            assert_eq!(field_of(new_token(token, 1000)), field);
        }
    }

    #[test]
    fn a_token_without_an_end_never_ends_and_its_numbers_are_a_set() {
        let wish = wire::IssueTokenRequest {
            phone_number_ids: vec!["2".into(), "1".into(), "2".into()],
            ..token()
        };
        let wish = new_token(wish, 1000).unwrap();
        assert_eq!(wish.expires_at, None);
        assert_eq!(wish.phone_number_ids.len(), 2);
    }

    #[test]
    fn keys_of_a_wrong_length_are_refused() {
        let keys = |hpke: usize, signing: usize| wire::SetBusinessKeysRequest {
            business_id: BUSINESS.into(),
            hpke_public_key: vec![1; hpke].into(),
            signing_public_key: vec![1; signing].into(),
        };
        assert_eq!(field_of(business_keys(&keys(1215, 32))), "hpke_public_key");
        assert_eq!(
            field_of(business_keys(&keys(1216, 33))),
            "signing_public_key"
        );
        assert!(business_keys(&keys(1216, 32)).is_ok());
    }

    #[test]
    fn a_page_has_a_default_and_an_upper_size() {
        assert_eq!(page_size(0).unwrap(), 100);
        assert_eq!(page_size(1000).unwrap(), 1000);
        assert_eq!(field_of(page_size(1001)), "page_size");
        assert_eq!(field_of(business_page("x")), "page_token");
        assert_eq!(field_of(number_page("x")), "page_token");
    }
}
