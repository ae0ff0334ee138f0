//! The yardstick: what libsignal alone takes to send one message, as a service with its sessions in a database must: read the
//! session, encrypt, write the session.

use std::pin::pin;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Instant;

use anyhow::{Context, anyhow};
use async_trait::async_trait;
use libsignal_protocol::{
    DeviceId, GenericSignedPreKey, IdentityKeyPair, IdentityKeyStore, InMemSignalProtocolStore,
    KeyPair, KyberPreKeyRecord, KyberPreKeyStore, PreKeyBundle, PreKeyRecord, PreKeyStore,
    ProtocolAddress, SessionRecord, SessionStore, SignalProtocolError, SignedPreKeyRecord,
    SignedPreKeyStore, Timestamp, kem, message_decrypt, message_encrypt, process_prekey_bundle,
};
use rand::rngs::OsRng;
use rand::{CryptoRng, Rng, TryRngCore};
use sealpost_runtime::Clock;

/// Bytes of each message.
const SIZE: usize = 1024;
/// Of an odd number of rounds the median is one of them.
const ROUNDS: usize = 15;
const MESSAGES: u32 = 200;
const PREKEY: u32 = 1;
const REGISTRATION: u32 = 7;

/// Microseconds a message, on one thread, of a session after so many turns each way: the median of several rounds.
pub fn micros_per_message(turns: u32) -> anyhow::Result<f64> {
    let mut rng = OsRng.unwrap_err();
    let mut pair = Pair::talking(turns, &mut rng)?;
    let plain = [0x5e; SIZE];
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for _ in 0..MESSAGES {
            pair.send(&plain, &mut rng)?;
        }
        rounds.push(begun.elapsed().as_secs_f64() * 1e6 / f64::from(MESSAGES));
    }
    rounds.sort_by(f64::total_cmp);
    Ok(rounds[ROUNDS / 2])
}

/// A session as a database keeps it: bytes.
struct Kept(Vec<u8>);

#[async_trait(?Send)]
impl SessionStore for Kept {
    async fn load_session(
        &self,
        _: &ProtocolAddress,
    ) -> Result<Option<SessionRecord>, SignalProtocolError> {
        SessionRecord::deserialize(&self.0).map(Some)
    }

    async fn store_session(
        &mut self,
        _: &ProtocolAddress,
        record: &SessionRecord,
    ) -> Result<(), SignalProtocolError> {
        self.0 = record.serialize()?;
        Ok(())
    }
}

/// A sender with a session that its peer has answered: what it sends carries no key exchange any more.
struct Pair {
    session: Kept,
    store: InMemSignalProtocolStore,
    peer: ProtocolAddress,
}

impl Pair {
    fn talking<R: Rng + CryptoRng>(turns: u32, rng: &mut R) -> anyhow::Result<Self> {
        let (here, there) = (address("business")?, address("consumer")?);
        let mut sender = store(rng)?;
        let mut receiver = store(rng)?;
        let bundle = offer(&mut receiver, rng)?;
        at_once(process_prekey_bundle(
            &there,
            &mut sender.session_store,
            &mut sender.identity_store,
            &bundle,
            now().into(),
            rng,
        ))?;
        // One there, one back.
        for _ in 0..turns {
            let word = encrypt(&mut sender, &there, rng)?;
            decrypt(&mut receiver, &here, &word, rng)?;
            let answer = encrypt(&mut receiver, &here, rng)?;
            decrypt(&mut sender, &there, &answer, rng)?;
        }
        let session = at_once(sender.session_store.load_session(&there))?;
        Ok(Self {
            session: Kept(session.context("a session")?.serialize()?),
            store: sender,
            peer: there,
        })
    }

    fn send<R: Rng + CryptoRng>(&mut self, plain: &[u8], rng: &mut R) -> anyhow::Result<()> {
        at_once(message_encrypt(
            plain,
            &self.peer,
            &mut self.session,
            &mut self.store.identity_store,
            now().into(),
            rng,
        ))?;
        Ok(())
    }
}

fn address(name: &str) -> anyhow::Result<ProtocolAddress> {
    let device = DeviceId::new(1).map_err(|_| anyhow!("a device id"))?;
    Ok(ProtocolAddress::new(name.to_owned(), device))
}

fn store<R: Rng + CryptoRng>(rng: &mut R) -> anyhow::Result<InMemSignalProtocolStore> {
    let identity = IdentityKeyPair::generate(rng);
    Ok(InMemSignalProtocolStore::new(identity, REGISTRATION)?)
}

/// A bundle of fresh prekeys, whose private halves the store keeps.
fn offer<R: Rng + CryptoRng>(
    store: &mut InMemSignalProtocolStore,
    rng: &mut R,
) -> anyhow::Result<PreKeyBundle> {
    let identity = at_once(store.get_identity_key_pair())?;
    let time = now();
    let (signed, one_time) = (KeyPair::generate(rng), KeyPair::generate(rng));
    let kyber = kem::KeyPair::generate(kem::KeyType::Kyber1024, rng);
    let own = identity.private_key();
    let signature = own.calculate_signature(&signed.public_key.serialize(), rng)?;
    let kyber_signature = own.calculate_signature(&kyber.public_key.serialize(), rng)?;
    let record = SignedPreKeyRecord::new(PREKEY.into(), time, &signed, &signature);
    at_once(store.save_signed_pre_key(PREKEY.into(), &record))?;
    let record = PreKeyRecord::new(PREKEY.into(), &one_time);
    at_once(store.save_pre_key(PREKEY.into(), &record))?;
    let record = KyberPreKeyRecord::new(PREKEY.into(), time, &kyber, &kyber_signature);
    at_once(store.save_kyber_pre_key(PREKEY.into(), &record))?;
    let bundle = PreKeyBundle::new(
        REGISTRATION,
        DeviceId::new(1).map_err(|_| anyhow!("a device id"))?,
        Some((PREKEY.into(), one_time.public_key)),
        PREKEY.into(),
        signed.public_key,
        signature.to_vec(),
        PREKEY.into(),
        kyber.public_key,
        kyber_signature.to_vec(),
        *identity.identity_key(),
    )?;
    Ok(bundle)
}

fn encrypt<R: Rng + CryptoRng>(
    store: &mut InMemSignalProtocolStore,
    to: &ProtocolAddress,
    rng: &mut R,
) -> anyhow::Result<libsignal_protocol::CiphertextMessage> {
    at_once(message_encrypt(
        b"hello",
        to,
        &mut store.session_store,
        &mut store.identity_store,
        now().into(),
        rng,
    ))
}

fn decrypt<R: Rng + CryptoRng>(
    store: &mut InMemSignalProtocolStore,
    from: &ProtocolAddress,
    message: &libsignal_protocol::CiphertextMessage,
    rng: &mut R,
) -> anyhow::Result<()> {
    at_once(message_decrypt(
        message,
        from,
        &mut store.session_store,
        &mut store.identity_store,
        &mut store.pre_key_store,
        &store.signed_pre_key_store,
        &mut store.kyber_pre_key_store,
        rng,
    ))?;
    Ok(())
}

fn now() -> Timestamp {
    Timestamp::from_epoch_millis(Clock::system().now().as_millis())
}

/// The stores never wait, so a step is done when it is first polled.
fn at_once<T>(step: impl Future<Output = Result<T, SignalProtocolError>>) -> anyhow::Result<T> {
    let mut context = TaskContext::from_waker(Waker::noop());
    match pin!(step).poll(&mut context) {
        // libsignal's texts can name keys.
        Poll::Ready(done) => done.map_err(|_| anyhow!("libsignal refuses")),
        Poll::Pending => Err(anyhow!("libsignal waits")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_yardstick_advances_a_session_and_takes_some_time() {
        let mut rng = OsRng.unwrap_err();
        let mut pair = Pair::talking(6, &mut rng).unwrap();
        let before = pair.session.0.clone();
        pair.send(&[0; SIZE], &mut rng).unwrap();
        assert_ne!(pair.session.0, before);
        let (young, old) = (Pair::talking(1, &mut rng), Pair::talking(5, &mut rng));
        let (young, old) = (young.unwrap().session.0.len(), old.unwrap().session.0.len());
        assert!(
            old > young && pair.session.0.len() < old * 11 / 10,
            "sessions stop growing"
        );
        assert!(micros_per_message(1).unwrap() > 1.0);
    }
}
