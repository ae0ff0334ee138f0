//! Gateways at two relays on one database.

use super::*;
use crate::{datastore::LEASE_MS, ids::StreamToken};

#[tokio::test]
async fn what_comes_in_at_one_relay_goes_to_the_gateway_at_the_other() {
    let Some((here, there)) = Fixture::two().await else {
        return;
    };
    here.number(1, 1).await;
    let device = here.register(PEER, 1, 1).await;
    let mut gateway = Collecting::start(&there, "a").await;
    assert!(gateway.is_quiet().await);
    hand_over(&here, &device, 1..3).await;
    assert_eq!(first_bytes(&gateway.take(2).await), [1, 2]);
}

#[tokio::test]
async fn a_gateways_newer_stream_at_the_other_relay_ends_the_older() {
    let Some((here, there)) = Fixture::two().await else {
        return;
    };
    here.number(1, 1).await;
    let device = here.register(PEER, 1, 1).await;
    hand_over(&here, &device, 1..3).await;
    let mut older = Collecting::start(&here, "a").await;
    let taken = older.take(2).await;
    let mut newer = Collecting::start(&there, "a").await;
    assert_eq!(first_bytes(&newer.take(2).await), [1, 2]);
    assert_eq!(
        refused(older.page().await),
        (Code::Aborted, "STREAM_REPLACED".into())
    );
    newer.acknowledge(&taken).await;
    hand_over(&there, &device, 3..4).await;
    assert_eq!(first_bytes(&newer.take(1).await), [3]);
}

#[tokio::test]
async fn what_a_gateway_had_at_a_relay_that_died_goes_to_another_in_order() {
    let Some((here, there)) = Fixture::two().await else {
        return;
    };
    here.number(1, 1).await;
    let device = here.register(PEER, 1, 1).await;
    hand_over(&here, &device, 1..4).await;
    // A stream that is never heard of again, as after a kill.
    let (dead, token) = (CollectorName::parse("dead").unwrap(), StreamToken(1));
    let datastore = &here.relay.datastore;
    let now = here.now();
    datastore
        .collector_open(dead.clone(), token, now)
        .await
        .unwrap();
    let had = datastore.collect(dead, token, 2, now).await.unwrap();
    assert_eq!(had.0.len(), 2);

    let mut other = Collecting::start(&there, "b").await;
    assert!(other.is_quiet().await, "it may live");
    there
        .clock
        .advance(Duration::from_millis(LEASE_MS.unsigned_abs()));
    assert_eq!(first_bytes(&other.take(3).await), [1, 2, 3]);
}
