//! The face of the seal: answers while the vault is sealed, too.

use sealpost_proto::vault::v1::{
    ChangeProviderRequest, ChangeProviderResponse, GetSealStatusRequest, GetSealStatusResponse,
    InitialiseRequest, InitialiseResponse, NewProvider, Passphrase, SealRequest, SealResponse,
    UnsealRequest, UnsealResponse,
    new_provider::Provider,
    seal_service_server::{SealService, SealServiceServer},
    unseal_request::Secret,
};
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use crate::{
    Keeper, Proof, VaultError,
    custody::unseal::{NewSeal, Share},
};

/// Requests are small.
const MAX_REQUEST: usize = 64 * 1024;

/// The generated server.
pub type Server = SealServiceServer<Face>;

/// The seal as a gRPC service.
#[must_use]
pub fn server(keeper: Keeper) -> Server {
    SealServiceServer::new(Face { keeper }).max_decoding_message_size(MAX_REQUEST)
}

/// What tonic calls.
pub struct Face {
    keeper: Keeper,
}

fn new_seal(provider: Option<NewProvider>) -> Result<NewSeal, VaultError> {
    let count = |field, count: u32| {
        u8::try_from(count).map_err(|_| VaultError::malformed(field, "is more than 255"))
    };
    match provider.and_then(|provider| provider.provider) {
        Some(Provider::KeyFile(_)) => Ok(NewSeal::KeyFile),
        Some(Provider::Pkcs11(_)) => Ok(NewSeal::Pkcs11),
        Some(Provider::Passphrase(passphrase)) => {
            Ok(NewSeal::Passphrase(Zeroizing::new(passphrase.text)))
        }
        Some(Provider::Shamir(sharing)) => Ok(NewSeal::Shamir {
            shares: count("provider.shamir.shares", sharing.shares)?,
            threshold: count("provider.shamir.threshold", sharing.threshold)?,
        }),
        Some(Provider::Development(_)) => Ok(NewSeal::Development),
        None => Err(VaultError::malformed("provider", "is missing")),
    }
}

fn share_of(text: String) -> Result<Share, VaultError> {
    let text = Zeroizing::new(text);
    text.parse()
        .map_err(|problem| VaultError::malformed("share", problem))
}

fn proof_of(passphrase: Option<Passphrase>, shares: Vec<String>) -> Result<Proof, VaultError> {
    if let Some(passphrase) = passphrase {
        return Ok(Proof::Passphrase(Zeroizing::new(passphrase.text)));
    }
    if shares.is_empty() {
        return Ok(Proof::Nothing);
    }
    let shares: Result<_, _> = shares.into_iter().map(share_of).collect();
    Ok(Proof::Shares(shares?))
}

impl Face {
    /// Carries a change to its end, whether or not its caller still waits.
    async fn to_its_end<T, F>(&self, change: impl FnOnce(Keeper) -> F) -> Result<T, VaultError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, VaultError>> + Send + 'static,
    {
        tokio::spawn(change(self.keeper.clone()))
            .await
            .map_err(|_| VaultError::Stopped)?
    }
}

/// The transport has the only other copies, and its buffers are the process's.
fn told(shares: Vec<Zeroizing<String>>) -> Vec<String> {
    shares
        .into_iter()
        .map(|mut share| std::mem::take(&mut *share))
        .collect()
}

#[tonic::async_trait]
impl SealService for Face {
    async fn get_seal_status(
        &self,
        _request: Request<GetSealStatusRequest>,
    ) -> Result<Response<GetSealStatusResponse>, Status> {
        let status = Some(self.keeper.status().await?);
        Ok(Response::new(GetSealStatusResponse { status }))
    }

    async fn initialise(
        &self,
        request: Request<InitialiseRequest>,
    ) -> Result<Response<InitialiseResponse>, Status> {
        let new = new_seal(request.into_inner().provider)?;
        let (status, shares) = self
            .to_its_end(|keeper| async move { keeper.initialise(new).await })
            .await?;
        Ok(Response::new(InitialiseResponse {
            status: Some(status),
            shares: told(shares),
        }))
    }

    async fn unseal(
        &self,
        request: Request<UnsealRequest>,
    ) -> Result<Response<UnsealResponse>, Status> {
        let status = match request.into_inner().secret {
            Some(Secret::Configured(_)) => {
                self.to_its_end(|keeper| async move { keeper.unseal().await })
                    .await?
            }
            Some(Secret::Passphrase(passphrase)) => {
                let text = Zeroizing::new(passphrase.text);
                self.to_its_end(|keeper| async move { keeper.unseal_by_passphrase(text).await })
                    .await?
            }
            Some(Secret::Share(share)) => {
                let share = share_of(share)?;
                self.to_its_end(|keeper| async move { keeper.unseal_by_share(share).await })
                    .await?
            }
            None => return Err(VaultError::malformed("secret", "is missing").into()),
        };
        Ok(Response::new(UnsealResponse {
            status: Some(status),
        }))
    }

    async fn seal(&self, _request: Request<SealRequest>) -> Result<Response<SealResponse>, Status> {
        let sealed = self.to_its_end(|keeper| async move { keeper.seal().await });
        let status = Some(sealed.await?);
        Ok(Response::new(SealResponse { status }))
    }

    async fn change_provider(
        &self,
        request: Request<ChangeProviderRequest>,
    ) -> Result<Response<ChangeProviderResponse>, Status> {
        let request = request.into_inner();
        let new = new_seal(request.provider)?;
        let proof = proof_of(request.present_passphrase, request.present_shares)?;
        let (status, shares) = self
            .to_its_end(|keeper| async move { keeper.change_provider(new, proof).await })
            .await?;
        Ok(Response::new(ChangeProviderResponse {
            status: Some(status),
            shares: told(shares),
        }))
    }
}
