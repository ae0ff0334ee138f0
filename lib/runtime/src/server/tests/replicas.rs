//! A channel towards several replicas.

use tokio::net::TcpListener;

use super::*;
use crate::config::Replicas;

fn replicas(addresses: &[SocketAddr]) -> Replicas {
    let peer = |address: &SocketAddr| format!("{{ address = '{address}', role = 'vault' }}");
    let list: Vec<_> = addresses.iter().map(peer).collect();
    let mut read: std::collections::BTreeMap<String, Replicas> =
        toml::from_str(&format!("vault = [{}]", list.join(", "))).unwrap();
    read.remove("vault").unwrap()
}

/// Calls until a connection that broke is replaced.
async fn reaches(channel: &tonic::transport::Channel) {
    let until = Instant::now() + Duration::from_secs(60);
    while let Err(status) = check(channel.clone()).await {
        assert!(Instant::now() < until, "{status:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_channel_to_replicas_goes_on_with_one_that_lives() {
    let authority = Authority::new("a");
    let (one, two) = (
        Vault::start(&authority, &EVERYBODY).await,
        Vault::start(&authority, &EVERYBODY).await,
    );
    let (_folder, gateway) = authority.service(GATEWAY, 1);
    let tls = ServiceTls::load(&gateway).unwrap();
    let channel = connect(replicas(&[one.address, two.address]), &tls).unwrap();
    reaches(&channel).await;

    one.stop.cancel();
    one.served.await.unwrap().unwrap();
    reaches(&channel).await;
    // The other way round there would be nobody left: it really is the second that answered.
    two.stop.cancel();
    two.served.await.unwrap().unwrap();
    assert_unreachable(&check(channel).await);
}

#[tokio::test]
async fn a_replica_that_accepts_and_says_nothing_is_passed_over() {
    let authority = Authority::new("a");
    let vault = Vault::start(&authority, &EVERYBODY).await;
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_folder, gateway) = authority.service(GATEWAY, 1);
    let tls = ServiceTls::load(&gateway).unwrap();
    // Whichever turn comes first, each channel gets through.
    for _ in 0..4 {
        let both = replicas(&[mute.local_addr().unwrap(), vault.address]);
        reaches(&connect(both, &tls).unwrap()).await;
    }
}
