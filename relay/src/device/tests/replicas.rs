//! Devices of two relays on one database.

use super::*;

#[tokio::test]
async fn a_device_at_one_relay_gets_what_is_handed_over_at_the_other() {
    let Some((here, there)) = Fixture::two().await else {
        return;
    };
    here.number(1, 1).await;
    let device = here.register(PEER, 1, 1).await;
    let mut receiving = Receiving::start(&here, &device).await;
    assert!(receiving.is_quiet().await);
    send(&there, &device, 1, 1..4).await;
    let taken = receiving.take(3).await;
    assert_eq!(ids(&taken), [1, 2, 3]);
    // What is acknowledged here is not given there.
    receiving.acknowledge(&taken[..2]).await;
    send(&here, &device, 1, 4..5).await;
    assert_eq!(ids(&receiving.take(1).await), [4]);
    drop(receiving);
    let mut receiving = Receiving::start(&there, &device).await;
    assert_eq!(ids(&receiving.take(2).await), [3, 4]);
}

#[tokio::test]
async fn a_device_that_was_replaced_at_the_other_relay_gets_nothing_any_more() {
    let Some((here, there)) = Fixture::two().await else {
        return;
    };
    here.number(1, 1).await;
    let old = here.register(PEER, 1, 1).await;
    let mut receiving = Receiving::start(&here, &old).await;
    let new = there.register(PEER, 2, 1).await;
    send(&there, &new, 2, 1..2).await;
    assert!(receiving.is_quiet().await);
    assert_eq!(ids(&Receiving::start(&here, &new).await.take(1).await), [1]);
    assert_eq!(
        refused(receiving.page().await),
        (GrpcCode::Unauthenticated, "DEVICE_UNKNOWN".into())
    );
}
