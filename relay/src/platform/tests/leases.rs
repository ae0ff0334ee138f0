//! Random collectors against a model: each item is in one live collector's hands at a time, each conversation in order.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, prelude::*, test_runner::TestCaseError};
use tokio::runtime::Runtime;

use super::*;
use crate::{
    datastore::LEASE_MS,
    ids::{Conversation, StreamToken},
};

const PEERS: [&str; 3] = [PEER, "4915187654321", "4915100000003"];
const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
enum Step {
    /// A consumer hands messages over.
    Send(usize, u8),
    /// A collector begins a stream, in the place of the one that it may have.
    Open(usize),
    /// It ends it in order.
    Close(usize),
    /// It says that it lives.
    Keep(usize),
    /// It asks for what it may have, at most so many.
    Collect(usize, usize),
    /// It acknowledges the first so many that it has in hand.
    Acknowledge(usize, usize),
    /// Time goes by, milliseconds.
    Wait(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (peer, name) = (0..PEERS.len(), 0..NAMES.len());
    let step = prop_oneof![
        3 => (peer, 1..5_u8).prop_map(|(peer, count)| Step::Send(peer, count)),
        2 => name.clone().prop_map(Step::Open),
        1 => name.clone().prop_map(Step::Close),
        2 => name.clone().prop_map(Step::Keep),
        6 => (name.clone(), 1..8_usize).prop_map(|(name, room)| Step::Collect(name, room)),
        4 => (name, 1..8_usize).prop_map(|(name, count)| Step::Acknowledge(name, count)),
        1 => (1..LEASE_MS).prop_map(Step::Wait),
    ];
    vec(step, 1..60)
}

/// One collector's newest stream, as the model sees it.
struct Stream {
    token: StreamToken,
    lease_until: i64,
    in_hand: Vec<(i64, Conversation)>,
}

struct Model {
    fixture: Fixture,
    devices: Vec<DeviceIdentity>,
    sent: u8,
    streams: BTreeMap<usize, Stream>,
    next_token: i64,
    acknowledged: BTreeSet<i64>,
}

impl Model {
    async fn new() -> Self {
        let fixture = Fixture::new().await;
        fixture.number(1, 1).await;
        let mut devices = Vec::new();
        for (seed, peer) in (1..).zip(PEERS) {
            devices.push(fixture.register(peer, seed, 1).await);
        }
        Self {
            fixture,
            devices,
            sent: 0,
            streams: BTreeMap::new(),
            next_token: 0,
            acknowledged: BTreeSet::new(),
        }
    }

    async fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        let datastore = self.fixture.relay.datastore.clone();
        let now = self.fixture.now();
        match step {
            Step::Send(peer, count) => {
                let until = self.sent.saturating_add(count);
                hand_over(&self.fixture, &self.devices[peer], self.sent..until).await;
                self.sent = until;
            }
            Step::Open(who) => {
                self.next_token += 1;
                let token = StreamToken(self.next_token);
                datastore
                    .collector_open(name(who), token, now)
                    .await
                    .unwrap();
                let stream = Stream {
                    token,
                    lease_until: now + LEASE_MS,
                    in_hand: Vec::new(),
                };
                self.streams.insert(who, stream);
            }
            Step::Close(who) => {
                if let Some(stream) = self.streams.remove(&who) {
                    let closed = datastore.collector_close(name(who), stream.token);
                    closed.await.unwrap();
                }
            }
            Step::Keep(who) => {
                if let Some(stream) = self.streams.get(&who) {
                    let kept = datastore.collector_keep(name(who), stream.token, now).await;
                    self.heard(who, kept.is_ok(), now)?;
                }
            }
            Step::Collect(who, room) => {
                if let Some(stream) = self.streams.get(&who) {
                    let given = datastore.collect(name(who), stream.token, room, now).await;
                    let (given, _) = given.unwrap_or_default();
                    prop_assert!(given.len() <= room);
                    for one in given {
                        self.given(who, one.queue_id, one.conversation)?;
                    }
                }
            }
            Step::Acknowledge(who, count) => {
                let Some(stream) = self.streams.get_mut(&who) else {
                    return Ok(());
                };
                let count = count.min(stream.in_hand.len());
                let ids: Vec<_> = stream.in_hand.drain(..count).collect();
                let left: HashSet<_> = stream.in_hand.iter().map(|(_, of)| of.clone()).collect();
                let done: HashSet<_> = ids.iter().map(|(_, of)| of.clone()).collect();
                let done = done.difference(&left).cloned().collect();
                let ids: Vec<_> = ids.into_iter().map(|(id, _)| id).collect();
                self.acknowledged.extend(&ids);
                let token = stream.token;
                let told = datastore.forget_collected(ids, done, name(who), token, count, now);
                // What is free then may be given at once.
                for one in told.await.unwrap().unwrap_or_default().0 {
                    self.given(who, one.queue_id, one.conversation)?;
                }
            }
            Step::Wait(milliseconds) => {
                let gone = Duration::from_millis(milliseconds.unsigned_abs());
                self.fixture.clock.advance(gone);
            }
        }
        Ok(())
    }

    /// A sign of life was taken or refused; taken, it ends those that gave none for too long.
    fn heard(&mut self, who: usize, taken: bool, now: i64) -> Result<(), TestCaseError> {
        let stream = self.streams.get_mut(&who).unwrap();
        if !taken {
            prop_assert!(stream.lease_until <= now, "a live stream was ended");
            self.streams.remove(&who);
            return Ok(());
        }
        stream.lease_until = now + LEASE_MS;
        for stream in self.streams.values_mut() {
            if stream.lease_until <= now {
                // It may not know yet: what it has in hand is anybody's.
                stream.in_hand.clear();
            }
        }
        Ok(())
    }

    fn given(&mut self, who: usize, id: i64, of: Conversation) -> Result<(), TestCaseError> {
        prop_assert!(!self.acknowledged.contains(&id), "{id} was acknowledged");
        for (other, stream) in &self.streams {
            let has = stream.in_hand.iter().any(|(_, theirs)| *theirs == of);
            prop_assert!(*other == who || !has, "{id}'s conversation is another's");
        }
        let mine = &self.streams[&who].in_hand;
        let newest = mine.iter().filter(|(_, theirs)| *theirs == of);
        let newest = newest.map(|(id, _)| *id).max();
        prop_assert!(newest.is_none_or(|newest| newest < id), "{id} out of order");
        self.streams.get_mut(&who).unwrap().in_hand.push((id, of));
        Ok(())
    }

    /// In the end one collector gets everything that is left.
    async fn drain(mut self) -> Result<(), TestCaseError> {
        self.fixture
            .clock
            .advance(Duration::from_millis(LEASE_MS.unsigned_abs()));
        self.streams.clear();
        self.step(Step::Open(0)).await?;
        self.step(Step::Keep(0)).await?;
        for _ in 0..200 {
            self.step(Step::Collect(0, 8)).await?;
            self.step(Step::Acknowledge(0, 8)).await?;
        }
        prop_assert_eq!(self.acknowledged.len(), usize::from(self.sent));
        Ok(())
    }
}

fn name(who: usize) -> CollectorName {
    CollectorName::parse(NAMES[who]).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn each_item_is_in_one_hand_in_order_and_none_is_lost(steps in steps()) {
        Runtime::new().unwrap().block_on(async {
            let mut model = Model::new().await;
            for step in steps {
                model.step(step).await?;
            }
            model.drain().await
        })?;
    }
}
