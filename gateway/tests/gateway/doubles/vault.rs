//! A vault without cryptography: a header is message id ‖ peer, a record's `sealed` is peer ‖ 0 ‖ body, a bundle's statement is
//! the devices' ids, and a ciphertext is the record's `sealed`.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    pin::Pin,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures::Stream;
use ring::digest::{SHA256, digest};
use sealpost_proto::{
    envelope::v1::SealedMessage,
    record::v1::{Direction, EpochId, Record},
    signal::v1::{CiphertextType, DeviceAddress, DeviceCiphertext},
    vault::v1::{
        key_vault_service_server::{KeyVaultService, KeyVaultServiceServer},
        *,
    },
};
use sealpost_runtime::batch::serve_batches;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, transport::Channel};

use super::{lock, serve, shards::Place};

/// The id of the only content key, and its wrap.
pub const CONTENT_KEY: &[u8] = &[7; 16];
pub const WRAP: &[u8] = b"wrap";

#[derive(Clone, Default)]
pub struct Vault {
    pub state: Arc<Mutex<State>>,
    pub place: Place,
}

#[derive(Default)]
pub struct State {
    /// By number and peer.
    subjects: HashMap<(String, String), Subject>,
    /// Inbound, by ciphertext hash: decrypted and not confirmed.
    pub pending: BTreeMap<Bytes, Record>,
    pub confirmed: HashSet<Bytes>,
    /// How often Decrypt wanted the relay's word.
    pub unverified: usize,
    /// How often Deliver sealed a record.
    pub delivered: usize,
    /// Epochs start here, in seconds.
    pub epoch_start: u64,
}

#[derive(Default)]
struct Subject {
    accepted: u64,
    encrypted_through: u64,
    received: u64,
    /// A bundle vouched for it.
    met: bool,
    devices: Vec<u32>,
}

impl Vault {
    pub async fn serve(&self) -> Channel {
        serve(KeyVaultServiceServer::new(self.clone())).await
    }
}

impl State {
    fn admit(&mut self, item: AdmitItem) -> AdmitOutcome {
        let message = item.message.unwrap_or_default();
        if message.header.len() < 17 {
            return AdmitOutcome {
                outcome: Some(admit_outcome::Outcome::Refused(Refusal::Malformed.into())),
            };
        }
        let (message_id, peer) = message.header.split_at(16);
        let peer = String::from_utf8(peer.to_vec()).unwrap();
        let epoch_start = self.epoch_start;
        let subject = self
            .subjects
            .entry((item.phone_number_id.clone(), peer.clone()))
            .or_default();
        subject.accepted += 1;
        let sealed = sealed(&peer, &message.body);
        let mut ciphertexts = Vec::new();
        if !subject.devices.is_empty() && subject.encrypted_through + 1 == subject.accepted {
            subject.encrypted_through = subject.accepted;
            ciphertexts = encrypt(&subject.devices, &sealed);
        }
        let record = Record {
            phone_number_id: item.phone_number_id,
            tag: tag(&peer),
            message_id: Bytes::copy_from_slice(message_id),
            direction: Direction::Outbound.into(),
            epoch: Some(EpochId {
                retention_seconds: 3600,
                start_seconds: epoch_start,
            }),
            sequence: subject.accepted,
            sealed,
        };
        AdmitOutcome {
            outcome: Some(admit_outcome::Outcome::Admitted(Admitted {
                record: Some(record),
                digest: sha(&message.body),
                peer,
                category: 1,
                time_ms: 1,
                ciphertexts,
                ..Admitted::default()
            })),
        }
    }

    fn encrypt(&mut self, item: EncryptItem) -> EncryptOutcome {
        let record = item.record.unwrap_or_default();
        let peer = peer_of(&record.sealed);
        let subject = self
            .subjects
            .entry((record.phone_number_id, peer.clone()))
            .or_default();
        if let Some(bundle) = item.bundle {
            subject.devices = bundle.statement.iter().map(|id| u32::from(*id)).collect();
        }
        let outcome = if subject.devices.is_empty() {
            encrypt_outcome::Outcome::SessionRequired(SessionRequired {
                peer,
                known_devices: vec![],
            })
        } else {
            subject.encrypted_through = subject.encrypted_through.max(record.sequence);
            let devices: Vec<u32> = match item.only_device_id {
                0 => subject.devices.clone(),
                only => vec![only],
            };
            encrypt_outcome::Outcome::Encrypted(Encrypted {
                peer,
                category: 1,
                time_ms: 1,
                ciphertexts: encrypt(&devices, &record.sealed),
                identity_changed: false,
            })
        };
        EncryptOutcome {
            outcome: Some(outcome),
            shard: 0,
        }
    }

    fn decrypt(&mut self, item: DecryptItem) -> DecryptOutcome {
        let hash = sha(&item.ciphertext);
        if self.confirmed.contains(&hash) || item.ciphertext.starts_with(b"garbage") {
            let refusal = if self.confirmed.contains(&hash) {
                Refusal::Duplicate
            } else {
                Refusal::Undecryptable
            };
            return DecryptOutcome {
                outcome: Some(decrypt_outcome::Outcome::Refused(refusal.into())),
                ciphertext_sha256: hash,
            };
        }
        let subject = self
            .subjects
            .entry((item.phone_number_id.clone(), item.peer.clone()))
            .or_default();
        let vouched = item.bundle.as_ref().is_some_and(|bundle| {
            let mut devices = bundle.statement.iter().map(|id| u32::from(*id));
            devices.any(|id| id == item.device_id)
        });
        if !subject.met && !vouched {
            self.unverified += 1;
            return DecryptOutcome {
                outcome: Some(decrypt_outcome::Outcome::Refused(
                    Refusal::SenderUnverified.into(),
                )),
                ciphertext_sha256: hash,
            };
        }
        subject.met = true;
        let record = self.pending.entry(hash.clone()).or_insert_with(|| {
            subject.received += 1;
            Record {
                phone_number_id: item.phone_number_id,
                tag: tag(&item.peer),
                message_id: hash.slice(..16),
                direction: Direction::Inbound.into(),
                epoch: Some(EpochId::default()),
                sequence: subject.received,
                sealed: sealed(&item.peer, &item.ciphertext),
            }
        });
        DecryptOutcome {
            outcome: Some(decrypt_outcome::Outcome::Decrypted(Decrypted {
                record: Some(record.clone()),
                message: Some(to_business(record, false)),
                content_key_id: Bytes::from_static(CONTENT_KEY),
                wrap: Bytes::from_static(WRAP),
                identity_changed: false,
            })),
            ciphertext_sha256: hash,
        }
    }

    fn deliver(&mut self, item: DeliverItem) -> DeliverOutcome {
        self.delivered += 1;
        let record = item.record.unwrap_or_default();
        let outcome = if peer_of(&record.sealed) == "erased" {
            deliver_outcome::Outcome::Refused(Refusal::SubjectErased.into())
        } else {
            let wrap = if item.with_wrap { WRAP } else { b"" };
            deliver_outcome::Outcome::Delivered(Delivered {
                message: Some(to_business(&record, item.header_only)),
                content_key_id: Bytes::from_static(CONTENT_KEY),
                wrap: Bytes::from_static(wrap),
            })
        };
        DeliverOutcome {
            outcome: Some(outcome),
        }
    }
}

fn sealed(peer: &str, body: &[u8]) -> Bytes {
    [peer.as_bytes(), &[0], body].concat().into()
}

fn peer_of(sealed: &[u8]) -> String {
    let peer = sealed.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(peer).into_owned()
}

fn to_business(record: &Record, header_only: bool) -> SealedMessage {
    let body = if header_only {
        Bytes::new()
    } else {
        record.sealed.clone()
    };
    SealedMessage {
        header: record.message_id.clone(),
        body,
    }
}

fn encrypt(devices: &[u32], sealed: &Bytes) -> Vec<DeviceCiphertext> {
    let devices = devices.iter().map(|id| DeviceCiphertext {
        device: Some(DeviceAddress {
            device_id: *id,
            registration_id: *id,
        }),
        r#type: CiphertextType::Message.into(),
        ciphertext: sealed.clone(),
    });
    devices.collect()
}

fn tag(peer: &str) -> Bytes {
    sha(peer.as_bytes()).slice(..16)
}

fn sha(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(digest(&SHA256, bytes).as_ref())
}

type Answer<T> = Result<Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn absent<T>() -> Answer<T> {
    Err(Status::unimplemented("not in this double"))
}

/// Serves one of the lanes: each item through a method of the state.
macro_rules! lane {
    ($self:ident, $request:ident, $state:ident, $item:ident => $outcome:expr, $response:ident) => {{
        let (state, place) = ($self.state.clone(), $self.place.clone());
        let answers = serve_batches(
            $request.into_inner(),
            CancellationToken::new(),
            move |batch| {
                let mut $state = lock(&state);
                let outcomes = batch.items.into_iter().map(|$item| $outcome).collect();
                let answer = $response {
                    batch_id: batch.batch_id,
                    outcomes,
                };
                let place = place.clone();
                async move {
                    place.speak().await;
                    Ok(answer)
                }
            },
        );
        Ok(Response::new(Box::pin(answers)))
    }};
}

#[tonic::async_trait]
impl KeyVaultService for Vault {
    type AdmitStream = Answers<AdmitResponse>;
    type EncryptStream = Answers<EncryptResponse>;
    type DecryptStream = Answers<DecryptResponse>;
    type ConfirmStream = Answers<ConfirmResponse>;
    type DeliverStream = Answers<DeliverResponse>;
    type WatchEpochsStream = Answers<WatchEpochsResponse>;
    type WatchShardsStream = Answers<WatchShardsResponse>;

    async fn admit(&self, request: Request<Streaming<AdmitRequest>>) -> Answer<Self::AdmitStream> {
        let place = self.place.clone();
        lane!(self, request, state, item => if place.holds() {
            state.admit(item)
        } else {
            AdmitOutcome { outcome: Some(admit_outcome::Outcome::Refused(Refusal::ShardElsewhere.into())) }
        }, AdmitResponse)
    }
    async fn encrypt(
        &self,
        request: Request<Streaming<EncryptRequest>>,
    ) -> Answer<Self::EncryptStream> {
        let place = self.place.clone();
        lane!(self, request, state, item => if place.holds() {
            state.encrypt(item)
        } else {
            EncryptOutcome { outcome: Some(encrypt_outcome::Outcome::Refused(Refusal::ShardElsewhere.into())), shard: 7 }
        }, EncryptResponse)
    }
    async fn decrypt(
        &self,
        request: Request<Streaming<DecryptRequest>>,
    ) -> Answer<Self::DecryptStream> {
        lane!(self, request, state, item => state.decrypt(item), DecryptResponse)
    }
    async fn confirm(
        &self,
        request: Request<Streaming<ConfirmRequest>>,
    ) -> Answer<Self::ConfirmStream> {
        lane!(self, request, state, item => {
            state.pending.remove(&item.ciphertext_sha256);
            state.confirmed.insert(item.ciphertext_sha256);
            ConfirmOutcome {}
        }, ConfirmResponse)
    }
    async fn deliver(
        &self,
        request: Request<Streaming<DeliverRequest>>,
    ) -> Answer<Self::DeliverStream> {
        lane!(self, request, state, item => state.deliver(item), DeliverResponse)
    }
    async fn list_pending(&self, _: Request<ListPendingRequest>) -> Answer<ListPendingResponse> {
        Ok(Response::new(ListPendingResponse::default()))
    }
    async fn get_published_key(
        &self,
        _: Request<GetPublishedKeyRequest>,
    ) -> Answer<GetPublishedKeyResponse> {
        Ok(Response::new(GetPublishedKeyResponse {
            key: Some(sealpost_proto::envelope::v1::PublishedVaultKey::default()),
        }))
    }
    async fn replenish_prekeys(
        &self,
        _: Request<ReplenishPrekeysRequest>,
    ) -> Answer<ReplenishPrekeysResponse> {
        Ok(Response::new(ReplenishPrekeysResponse {
            upload: Some(sealpost_proto::signal::v1::PrekeyUpload::default()),
        }))
    }

    async fn provision_number(
        &self,
        _: Request<ProvisionNumberRequest>,
    ) -> Answer<ProvisionNumberResponse> {
        absent()
    }
    async fn register_business_keys(
        &self,
        _: Request<RegisterBusinessKeysRequest>,
    ) -> Answer<RegisterBusinessKeysResponse> {
        absent()
    }
    async fn get_number(&self, _: Request<GetNumberRequest>) -> Answer<GetNumberResponse> {
        absent()
    }
    async fn set_retention(&self, _: Request<SetRetentionRequest>) -> Answer<SetRetentionResponse> {
        absent()
    }
    async fn reseal(&self, _: Request<ResealRequest>) -> Answer<ResealResponse> {
        absent()
    }
    async fn check(&self, _: Request<CheckRequest>) -> Answer<CheckResponse> {
        absent()
    }
    async fn watch_shards(
        &self,
        _: Request<WatchShardsRequest>,
    ) -> Answer<Self::WatchShardsStream> {
        let hold = self.place.hold.subscribe();
        let news = futures::stream::unfold((hold, true), |(mut hold, first)| async move {
            let said = Place::said(&mut hold, first).await;
            Some((Ok(said), (hold, false)))
        });
        Ok(Response::new(Box::pin(news)))
    }
    async fn watch_epochs(
        &self,
        _: Request<WatchEpochsRequest>,
    ) -> Answer<Self::WatchEpochsStream> {
        absent()
    }
    async fn destroy_expired_epochs(
        &self,
        _: Request<DestroyExpiredEpochsRequest>,
    ) -> Answer<DestroyExpiredEpochsResponse> {
        absent()
    }
    async fn erase_subject(&self, _: Request<EraseSubjectRequest>) -> Answer<EraseSubjectResponse> {
        absent()
    }
    async fn erase_person(&self, _: Request<ErasePersonRequest>) -> Answer<ErasePersonResponse> {
        absent()
    }
    async fn remove_number(&self, _: Request<RemoveNumberRequest>) -> Answer<RemoveNumberResponse> {
        absent()
    }
    async fn list_receipts(&self, _: Request<ListReceiptsRequest>) -> Answer<ListReceiptsResponse> {
        absent()
    }
    async fn find_subject(&self, _: Request<FindSubjectRequest>) -> Answer<FindSubjectResponse> {
        absent()
    }
    async fn export_subject(
        &self,
        _: Request<ExportSubjectRequest>,
    ) -> Answer<ExportSubjectResponse> {
        absent()
    }
    async fn confirm_clock(&self, _: Request<ConfirmClockRequest>) -> Answer<ConfirmClockResponse> {
        absent()
    }
}
