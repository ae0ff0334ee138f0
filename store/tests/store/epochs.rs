//! Epochs by the vault's word: a vault that says what the test tells it, and the store that follows.

use std::{sync::Arc, time::Duration};

use sealpost_proto::store::v1::append_outbound_outcome::Outcome as Out;
use sealpost_proto::{
    record::v1::EpochId,
    vault::v1::{EpochState, EpochStatus, WatchEpochsResponse},
};
use sealpost_store::{
    datastore::EpochReport,
    epoch::{Epoch, EpochState as State},
    upkeep, vault_watch,
};
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    bench::{Bench, MONTH, START, epoch, inbound, outbound},
    vault::Vault,
};

const EPOCH: Epoch = Epoch {
    retention_seconds: MONTH,
    start_seconds: START,
};

fn said(state: EpochState) -> WatchEpochsResponse {
    WatchEpochsResponse {
        epochs: vec![EpochStatus {
            epoch: Some(epoch()),
            state: state.into(),
        }],
    }
}

async fn rows(bench: &Bench) -> i64 {
    let rows = "SELECT (SELECT count(*) FROM outbound) + (SELECT count(*) FROM inbound) \
         + (SELECT count(*) FROM envelopes) + (SELECT count(*) FROM events)";
    bench.count(rows.to_owned()).await
}

async fn until_no_rows(bench: &Bench) {
    let gone = async {
        while rows(bench).await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), gone).await.unwrap();
}

#[tokio::test]
async fn a_destroyed_epoch_is_refused_and_its_rows_go_though_retention_be_down() {
    let bench = Bench::new().await;
    bench.append(vec![outbound(1, 1, 1)]).await;
    bench.append_inbound(vec![inbound(1, 1)]).await;

    let mut vault = Vault::start().await;
    let (wake, stop) = (Arc::new(Notify::new()), CancellationToken::new());
    let tasks = [
        tokio::spawn(vault_watch::follow(
            vault.channel(),
            bench.datastore.clone(),
            bench.clock.clone(),
            wake.clone(),
            stop.clone(),
        )),
        tokio::spawn(upkeep::keep(
            bench.datastore.clone(),
            bench.clock.clone(),
            wake,
            stop.clone(),
        )),
    ];
    // The first stream breaks after its first answer; the second one tells.
    vault.say(said(EpochState::Open)).await;
    vault.break_off();
    vault.say(said(EpochState::Open)).await;
    vault.say(said(EpochState::Destroyed)).await;
    until_no_rows(&bench).await;
    let outcomes = bench.append(vec![outbound(2, 1, 2)]).await;
    assert!(matches!(outcomes[0], Out::EpochClosed(_)));

    stop.cancel();
    for task in tasks {
        timeout(Duration::from_secs(5), task)
            .await
            .unwrap()
            .unwrap();
    }
}

#[tokio::test]
async fn a_destruction_is_final() {
    let bench = Bench::new().await;
    let report = |state, complete| EpochReport {
        states: vec![(EPOCH, state)],
        complete,
    };
    let now = bench.clock.now();
    let datastore = &bench.datastore;
    assert_eq!(
        datastore
            .note_epochs(report(State::Open, true), now)
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        datastore
            .note_epochs(report(State::Destroyed, false), now)
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        datastore
            .note_epochs(report(State::Open, true), now)
            .await
            .unwrap(),
        0
    );
    let outcomes = bench.append(vec![outbound(1, 1, 1)]).await;
    assert!(matches!(outcomes[0], Out::EpochClosed(_)));
}

#[tokio::test]
async fn an_epoch_that_the_vault_forgot_goes_when_its_time_is_past_and_not_before() {
    let bench = Bench::new().await;
    bench.append(vec![outbound(1, 1, 1)]).await;
    let nothing = EpochReport {
        states: Vec::new(),
        complete: true,
    };
    let told = bench
        .datastore
        .note_epochs(nothing.clone(), bench.clock.now());
    assert_eq!(told.await.unwrap(), 0);
    bench.advance(u64::from(MONTH));
    let told = bench.datastore.note_epochs(nothing, bench.clock.now());
    assert_eq!(told.await.unwrap(), 1);
    assert_eq!(
        upkeep::purge(&bench.datastore, &bench.clock).await.unwrap(),
        1
    );
    assert_eq!(rows(&bench).await, 0);
}

#[tokio::test]
async fn a_purge_is_bounded_and_a_purged_epoch_is_forgotten_a_day_after_its_end() {
    let bench = Bench::new().await;
    bench
        .append((1..=5).map(|n| outbound(n, 1, n.into())).collect())
        .await;
    let report = EpochReport {
        states: vec![(EPOCH, State::Destroyed)],
        complete: false,
    };
    let now = bench.clock.now();
    bench.datastore.note_epochs(report, now).await.unwrap();
    let first = bench.datastore.purge_destroyed(3, now).await.unwrap();
    assert_eq!((first.rows(), first.more), (3, true));
    let rest = bench.datastore.purge_destroyed(3, now).await.unwrap();
    assert_eq!((rest.rows(), rest.more), (2, false));

    bench.advance(u64::from(MONTH));
    assert_eq!(
        bench
            .datastore
            .forget_epochs(10, bench.clock.now())
            .await
            .unwrap(),
        0
    );
    bench.advance(86_400);
    assert_eq!(
        bench
            .datastore
            .forget_epochs(10, bench.clock.now())
            .await
            .unwrap(),
        1
    );
}

#[test]
fn the_bench_names_the_epoch_that_the_vault_names() {
    let named: EpochId = epoch();
    assert_eq!(
        (named.retention_seconds, named.start_seconds),
        (MONTH, START)
    );
}
