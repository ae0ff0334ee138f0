//! The directory's gRPC face: reads requests, runs units of work, writes answers.

use sealpost_proto::directory::v1 as wire;
use sealpost_runtime::{Clock, identity::PeerIdentity, server::peer_of};
use tonic::{Request, Response, Status};
use wire::directory_service_server::DirectoryService;

use crate::{
    Datastore, DirectoryError,
    datastore::{Business, Number, NumberMove, PublicKeys},
    ids::{PhoneNumberId, Uuid, random},
    token::TokenText,
    validate,
};

/// The service.
#[derive(Clone, Debug)]
pub struct Directory {
    datastore: Datastore,
    clock: Clock,
}

impl Directory {
    /// Over an open datastore.
    #[must_use]
    pub fn new(datastore: Datastore, clock: Clock) -> Self {
        Self { datastore, clock }
    }

    /// Milliseconds since the Unix epoch, as the tables keep it.
    fn now(&self) -> i64 {
        i64::try_from(self.clock.now().as_millis()).unwrap_or(i64::MAX)
    }

    async fn make_business(&self, name: String) -> Result<Business, DirectoryError> {
        let business = Business {
            business_id: Uuid::from_random(random()?),
            name: validate::business_name(name)?,
            created_at: self.now(),
            keys: None,
        };
        self.datastore.create_business(business.clone()).await?;
        Ok(business)
    }

    async fn make_token(
        &self,
        request: wire::IssueTokenRequest,
    ) -> Result<wire::IssueTokenResponse, DirectoryError> {
        let now = self.now();
        let wish = validate::new_token(request, now)?;
        let id = Uuid::from_random(random()?);
        let token = TokenText::from_random(random()?);
        self.datastore
            .issue_token(id, token.digest(), wish, now)
            .await?;
        Ok(wire::IssueTokenResponse {
            token_id: id.to_string(),
            token: token.reveal(),
        })
    }
}

#[tonic::async_trait]
impl DirectoryService for Directory {
    async fn create_business(
        &self,
        request: Request<wire::CreateBusinessRequest>,
    ) -> Result<Response<wire::CreateBusinessResponse>, Status> {
        let business = self.make_business(request.into_inner().name).await?;
        Ok(Response::new(wire::CreateBusinessResponse {
            business: Some(business.into()),
        }))
    }

    async fn list_businesses(
        &self,
        request: Request<wire::ListBusinessesRequest>,
    ) -> Result<Response<wire::ListBusinessesResponse>, Status> {
        let request = request.into_inner();
        let limit = validate::page_size(request.page_size)?;
        let after = validate::business_page(&request.page_token)?;
        let mut found = self.datastore.list_businesses(after, limit + 1).await?;
        let next = next_page(&mut found, limit, |business| {
            business.business_id.to_string()
        });
        Ok(Response::new(wire::ListBusinessesResponse {
            businesses: found.into_iter().map(Into::into).collect(),
            next_page_token: next,
        }))
    }

    async fn create_number(
        &self,
        request: Request<wire::CreateNumberRequest>,
    ) -> Result<Response<wire::CreateNumberResponse>, Status> {
        let wish = validate::new_number(request.into_inner().number)?;
        let chosen = PhoneNumberId::from_random(random()?);
        let number = self
            .datastore
            .create_number(wish, chosen, self.now())
            .await?;
        Ok(Response::new(wire::CreateNumberResponse {
            number: Some(number.into()),
        }))
    }

    async fn get_number(
        &self,
        request: Request<wire::GetNumberRequest>,
    ) -> Result<Response<wire::GetNumberResponse>, Status> {
        let id = validate::phone_number_id("phone_number_id", &request.get_ref().phone_number_id)?;
        let number = self.datastore.number(id).await?;
        Ok(Response::new(wire::GetNumberResponse {
            number: Some(number.into()),
        }))
    }

    async fn list_numbers(
        &self,
        request: Request<wire::ListNumbersRequest>,
    ) -> Result<Response<wire::ListNumbersResponse>, Status> {
        let request = request.into_inner();
        let business = match request.business_id.as_str() {
            "" => None,
            id => Some(validate::business_id("business_id", id)?),
        };
        let limit = validate::page_size(request.page_size)?;
        let after = validate::number_page(&request.page_token)?;
        let mut found = self
            .datastore
            .list_numbers(business, after, limit + 1)
            .await?;
        let next = next_page(&mut found, limit, |number| {
            number.phone_number_id.as_str().to_owned()
        });
        Ok(Response::new(wire::ListNumbersResponse {
            numbers: found.into_iter().map(Into::into).collect(),
            next_page_token: next,
        }))
    }

    async fn set_business_keys(
        &self,
        request: Request<wire::SetBusinessKeysRequest>,
    ) -> Result<Response<wire::SetBusinessKeysResponse>, Status> {
        let request = request.into_inner();
        let id = validate::business_keys(&request)?;
        let keys = PublicKeys {
            hpke: request.hpke_public_key.into(),
            signing: request.signing_public_key.into(),
        };
        self.datastore.set_business_keys(id, keys).await?;
        Ok(Response::new(wire::SetBusinessKeysResponse {}))
    }

    async fn issue_token(
        &self,
        request: Request<wire::IssueTokenRequest>,
    ) -> Result<Response<wire::IssueTokenResponse>, Status> {
        Ok(Response::new(self.make_token(request.into_inner()).await?))
    }

    async fn revoke_token(
        &self,
        request: Request<wire::RevokeTokenRequest>,
    ) -> Result<Response<wire::RevokeTokenResponse>, Status> {
        let id = validate::business_id("token_id", &request.get_ref().token_id)?;
        self.datastore.revoke_token(id, self.now()).await?;
        Ok(Response::new(wire::RevokeTokenResponse {}))
    }

    async fn delete_number(
        &self,
        request: Request<wire::DeleteNumberRequest>,
    ) -> Result<Response<wire::DeleteNumberResponse>, Status> {
        let id = validate::phone_number_id("phone_number_id", &request.get_ref().phone_number_id)?;
        self.datastore.delete_number(id).await?;
        Ok(Response::new(wire::DeleteNumberResponse {}))
    }

    async fn delete_business(
        &self,
        request: Request<wire::DeleteBusinessRequest>,
    ) -> Result<Response<wire::DeleteBusinessResponse>, Status> {
        let id = validate::business_id("business_id", &request.get_ref().business_id)?;
        self.datastore.delete_business(id).await?;
        Ok(Response::new(wire::DeleteBusinessResponse {}))
    }

    async fn authenticate_token(
        &self,
        request: Request<wire::AuthenticateTokenRequest>,
    ) -> Result<Response<wire::AuthenticateTokenResponse>, Status> {
        let digest = validate::token_digest(&request.get_ref().token_sha256)?;
        let (token, numbers) = self.datastore.authenticate(digest, self.now()).await?;
        Ok(Response::new(wire::AuthenticateTokenResponse {
            token_id: token.token_id.to_string(),
            business_id: token.business_id.to_string(),
            numbers: numbers.into_iter().map(Into::into).collect(),
            scopes: token.scopes.to_wire(),
            expires_at_ms: token.expires_at.map_or(0, wire_time),
        }))
    }

    async fn move_number(
        &self,
        request: Request<wire::MoveNumberRequest>,
    ) -> Result<Response<wire::MoveNumberResponse>, Status> {
        let peer = peer_of(&request)?;
        let asked_by = name_of(&peer);
        let request = request.into_inner();
        let number = validate::phone_number_id("phone_number_id", &request.phone_number_id)?;
        let region = validate::region("region", &request.region)?;
        let id = Uuid::from_random(random()?);
        let begun = self
            .datastore
            .begin_move(id, number, region, asked_by, self.now())
            .await?;
        tracing::info!("a number is to move to another region");
        Ok(Response::new(wire::MoveNumberResponse {
            r#move: Some(begun.into()),
        }))
    }

    async fn list_number_moves(
        &self,
        request: Request<wire::ListNumberMovesRequest>,
    ) -> Result<Response<wire::ListNumberMovesResponse>, Status> {
        let request = request.into_inner();
        let number = validate::number_page(&request.phone_number_id)?;
        let limit = validate::page_size(request.page_size)?;
        let before = match request.before_ms {
            0 => i64::MAX,
            time => i64::try_from(time).unwrap_or(i64::MAX),
        };
        let found = self
            .datastore
            .list_moves(number, request.open_only, before, limit)
            .await?;
        Ok(Response::new(wire::ListNumberMovesResponse {
            moves: found.into_iter().map(Into::into).collect(),
        }))
    }

    async fn advance_number_move(
        &self,
        request: Request<wire::AdvanceNumberMoveRequest>,
    ) -> Result<Response<wire::AdvanceNumberMoveResponse>, Status> {
        let step = validate::step(request.get_ref())?;
        let found = self.datastore.advance_move(step, self.now()).await?;
        tracing::info!("a move of a number came a step on");
        Ok(Response::new(wire::AdvanceNumberMoveResponse {
            r#move: Some(found.into()),
        }))
    }
}

/// The SPIFFE ID of a caller.
fn name_of(peer: &PeerIdentity) -> String {
    let name = peer.name.as_ref();
    let name = name.map_or_else(String::new, |name| format!("/{name}"));
    format!("spiffe://{}/{}{name}", peer.trust_domain, peer.role)
}

/// Cuts `found`, read one longer than the page, to `limit`; names its last when there is more.
fn next_page<T>(found: &mut Vec<T>, limit: u32, name: impl Fn(&T) -> String) -> String {
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    if more {
        found.last().map(name).unwrap_or_default()
    } else {
        String::new()
    }
}

fn wire_time(millis: i64) -> u64 {
    u64::try_from(millis).unwrap_or(0)
}

impl From<Business> for wire::Business {
    fn from(business: Business) -> Self {
        let (hpke, signing) = business
            .keys
            .map(|keys| (keys.hpke, keys.signing))
            .unwrap_or_default();
        Self {
            business_id: business.business_id.to_string(),
            name: business.name,
            created_at_ms: wire_time(business.created_at),
            hpke_public_key: hpke.into(),
            signing_public_key: signing.into(),
        }
    }
}

impl From<Number> for wire::Number {
    fn from(number: Number) -> Self {
        Self {
            phone_number_id: number.phone_number_id.as_str().to_owned(),
            phone_number: number.phone_number.as_str().to_owned(),
            business_id: number.business_id.to_string(),
            region: number.region.as_str().to_owned(),
            display_name: number.display_name,
            messages_per_second: number.messages_per_second,
            created_at_ms: wire_time(number.created_at),
            moving_to: number
                .moving_to
                .map_or_else(String::new, |region| region.as_str().to_owned()),
        }
    }
}

impl From<NumberMove> for wire::NumberMove {
    fn from(found: NumberMove) -> Self {
        Self {
            move_id: found.move_id.to_string(),
            phone_number_id: found.number.as_str().to_owned(),
            from_region: found.from.as_str().to_owned(),
            to_region: found.to.as_str().to_owned(),
            asked_by: found.asked_by,
            state: found.state as i32,
            rows: found.rows,
            asked_at_ms: wire_time(found.asked_at),
            switched_at_ms: found.switched_at.map_or(0, wire_time),
            finished_at_ms: found.finished_at.map_or(0, wire_time),
        }
    }
}

#[cfg(test)]
mod tests;
