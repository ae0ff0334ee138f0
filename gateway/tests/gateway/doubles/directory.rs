//! A directory with tokens.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use ring::digest::{SHA256, digest};
use sealpost_proto::directory::v1::{
    directory_service_server::{DirectoryService, DirectoryServiceServer},
    *,
};
use tonic::{Request, Response, Status, transport::Channel};

use super::{lock, serve};

#[derive(Clone, Default)]
pub struct Directory {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    tokens: HashMap<Vec<u8>, AuthenticateTokenResponse>,
    down: bool,
}

impl Directory {
    pub async fn serve(&self) -> Channel {
        serve(DirectoryServiceServer::new(self.clone())).await
    }

    /// A token for every scope of these numbers.
    pub fn issue(&self, token: &str, numbers: &[&str], messages_per_second: u32) {
        let numbers = numbers.iter().map(|id| Number {
            phone_number_id: (*id).to_owned(),
            business_id: "business".into(),
            region: "eu".into(),
            messages_per_second,
            ..Number::default()
        });
        let answer = AuthenticateTokenResponse {
            token_id: token.into(),
            business_id: "business".into(),
            numbers: numbers.collect(),
            scopes: vec![
                Scope::Send.into(),
                Scope::Receive.into(),
                Scope::ReadNumbers.into(),
            ],
            expires_at_ms: 0,
        };
        lock(&self.state).tokens.insert(hash(token), answer);
    }

    pub fn revoke(&self, token: &str) {
        lock(&self.state).tokens.remove(&hash(token));
    }

    pub fn set_down(&self, down: bool) {
        lock(&self.state).down = down;
    }
}

fn hash(token: &str) -> Vec<u8> {
    digest(&SHA256, token.as_bytes()).as_ref().to_vec()
}

type Answer<T> = Result<Response<T>, Status>;

fn absent<T>() -> Answer<T> {
    Err(Status::unimplemented("not in this double"))
}

#[tonic::async_trait]
impl DirectoryService for Directory {
    async fn authenticate_token(
        &self,
        request: Request<AuthenticateTokenRequest>,
    ) -> Answer<AuthenticateTokenResponse> {
        let state = lock(&self.state);
        if state.down {
            return Err(Status::unavailable("down"));
        }
        let found = state.tokens.get(request.into_inner().token_sha256.as_ref());
        found
            .cloned()
            .map(Response::new)
            .ok_or(Status::not_found("no such token"))
    }

    async fn create_business(
        &self,
        _: Request<CreateBusinessRequest>,
    ) -> Answer<CreateBusinessResponse> {
        absent()
    }
    async fn list_businesses(
        &self,
        _: Request<ListBusinessesRequest>,
    ) -> Answer<ListBusinessesResponse> {
        absent()
    }
    async fn create_number(&self, _: Request<CreateNumberRequest>) -> Answer<CreateNumberResponse> {
        absent()
    }
    async fn get_number(&self, _: Request<GetNumberRequest>) -> Answer<GetNumberResponse> {
        absent()
    }
    async fn list_numbers(&self, _: Request<ListNumbersRequest>) -> Answer<ListNumbersResponse> {
        absent()
    }
    async fn set_business_keys(
        &self,
        _: Request<SetBusinessKeysRequest>,
    ) -> Answer<SetBusinessKeysResponse> {
        absent()
    }
    async fn issue_token(&self, _: Request<IssueTokenRequest>) -> Answer<IssueTokenResponse> {
        absent()
    }
    async fn revoke_token(&self, _: Request<RevokeTokenRequest>) -> Answer<RevokeTokenResponse> {
        absent()
    }
    async fn move_number(&self, _: Request<MoveNumberRequest>) -> Answer<MoveNumberResponse> {
        absent()
    }
    async fn list_number_moves(
        &self,
        _: Request<ListNumberMovesRequest>,
    ) -> Answer<ListNumberMovesResponse> {
        absent()
    }
    async fn advance_number_move(
        &self,
        _: Request<AdvanceNumberMoveRequest>,
    ) -> Answer<AdvanceNumberMoveResponse> {
        absent()
    }
    async fn delete_number(&self, _: Request<DeleteNumberRequest>) -> Answer<DeleteNumberResponse> {
        absent()
    }
    async fn delete_business(
        &self,
        _: Request<DeleteBusinessRequest>,
    ) -> Answer<DeleteBusinessResponse> {
        absent()
    }
}
