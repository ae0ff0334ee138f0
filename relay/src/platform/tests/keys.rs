//! Keys of consumers and of numbers.

use super::*;

#[tokio::test]
async fn a_prekey_is_handed_out_once_however_many_ask_at_once() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    fixture.register(PEER, 1, 20).await;
    let mut asking = JoinSet::new();
    for _ in 0..30 {
        let face = fixture.platform.clone();
        asking.spawn(async move { fetch(&face, Vec::new()).await.unwrap().devices.remove(0) });
    }
    let devices = asking.join_all().await;
    let curve: Vec<_> = devices
        .iter()
        .filter_map(|device| device.one_time_prekey.as_ref())
        .collect();
    assert_eq!(curve.len(), 20);
    assert_eq!(
        curve
            .iter()
            .map(|prekey| prekey.id)
            .collect::<HashSet<_>>()
            .len(),
        20
    );
    let kem = devices
        .iter()
        .map(|device| device.kem_prekey.as_ref().unwrap().id);
    let (last_resort, one_time): (Vec<_>, Vec<_>) = kem.partition(|id| *id == 1);
    assert_eq!((last_resort.len(), one_time.len()), (10, 20));
    assert_eq!(one_time.into_iter().collect::<HashSet<_>>().len(), 20);
}

#[tokio::test]
async fn a_consumers_bundle_is_signed_for_the_asking_number_and_ends() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    fixture.register(PEER, 1, 1).await;
    let request = wire::FetchBundleRequest {
        phone_number_id: NUMBER.into(),
        peer: PEER.into(),
        known_devices: Vec::new(),
        without_prekeys: false,
    };
    let answer = fixture
        .platform
        .fetch_bundle(Request::new(request))
        .await
        .unwrap();
    let bundle = answer.into_inner().bundle.unwrap();
    let public = VerifyingKey::from_bytes(&fixture.public_key).unwrap();
    let signature = Signature::from_slice(&bundle.signature).unwrap();
    public.verify_strict(&bundle.statement, &signature).unwrap();
    let mut altered = bundle.statement.to_vec();
    altered[40] ^= 1;
    assert!(public.verify_strict(&altered, &signature).is_err());

    let said = BundleStatement::decode(bundle.statement).unwrap();
    assert_eq!(
        (said.requester.as_str(), said.peer.as_str()),
        (NUMBER, PEER)
    );
    assert_eq!(said.issued_at_ms, fixture.clock.now().as_millis());
    assert_eq!(said.expires_at_ms - said.issued_at_ms, 24 * 3600 * 1000);
    assert_eq!(said.identity_key, upload(1, 0, 0).identity_key);
}

#[tokio::test]
async fn a_known_device_costs_no_prekey_and_a_reregistered_one_does() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 5).await;
    let known = |registration_id| {
        vec![DeviceAddress {
            device_id: device.device_id,
            registration_id,
        }]
    };
    let bundle = fetch(&fixture.platform, known(1))
        .await
        .unwrap()
        .devices
        .remove(0);
    assert!(
        bundle.signed_prekey.is_none()
            && bundle.one_time_prekey.is_none()
            && bundle.kem_prekey.is_none()
    );
    let bundle = fetch(&fixture.platform, known(2))
        .await
        .unwrap()
        .devices
        .remove(0);
    assert!(
        bundle.signed_prekey.is_some()
            && bundle.one_time_prekey.is_some()
            && bundle.kem_prekey.is_some()
    );
    assert_eq!(
        fixture
            .relay
            .datastore
            .prekey_counts(device.holder)
            .await
            .unwrap(),
        (4, 4)
    );
}

#[tokio::test]
async fn a_bundle_without_prekeys_names_every_device_and_costs_none() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 5).await;
    let request = wire::FetchBundleRequest {
        phone_number_id: NUMBER.into(),
        peer: PEER.into(),
        known_devices: Vec::new(),
        without_prekeys: true,
    };
    let answer = fixture
        .platform
        .fetch_bundle(Request::new(request))
        .await
        .unwrap();
    let bundle = answer.into_inner().bundle.unwrap();
    let said = BundleStatement::decode(bundle.statement).unwrap();
    assert_eq!(said.identity_key, upload(1, 0, 0).identity_key);
    let listed = DeviceBundle {
        device_id: device.device_id,
        registration_id: 1,
        ..DeviceBundle::default()
    };
    assert_eq!(said.devices, [listed]);
    let left = fixture.relay.datastore.prekey_counts(device.holder).await;
    assert_eq!(left.unwrap(), (5, 5));
}

#[tokio::test]
async fn only_a_known_number_may_ask_and_only_about_a_known_consumer() {
    let fixture = Fixture::new().await;
    let nobody = fetch(&fixture.platform, Vec::new()).await;
    assert_eq!(refused(nobody), (Code::NotFound, "NUMBER_UNKNOWN".into()));
    fixture.number(1, 1).await;
    let nobody = fetch(&fixture.platform, Vec::new()).await;
    assert_eq!(refused(nobody), (Code::NotFound, "UNKNOWN_PEER".into()));
}

fn prekeys_low(items: &[wire::Inbound]) -> usize {
    let is_low =
        |inbound: &&wire::Inbound| matches!(inbound.item, Some(wire::inbound::Item::PrekeysLow(_)));
    items.iter().filter(is_low).count()
}

#[tokio::test]
async fn prekeys_that_run_low_are_asked_for_once_until_an_upload_or_an_hour() {
    let fixture = Fixture::new().await;
    fixture.number(27, 40).await;
    let device = fixture.register(PEER, 1, 1).await;
    let ask = || async {
        let phone_number = "4930123456".into();
        let request = wire::FetchBusinessBundleRequest {
            phone_number,
            without_prekeys: false,
        };
        fixture
            .device
            .fetch_business_bundle(of(&device, request))
            .await
            .unwrap();
        prekeys_low(&collected(&fixture).await)
    };
    assert_eq!([ask().await, ask().await], [0, 0]);
    assert_eq!([ask().await, ask().await], [1, 1]);
    let Some(wire::inbound::Item::PrekeysLow(low)) = &collected(&fixture).await[0].item else {
        panic!("no item");
    };
    assert_eq!((low.one_time_prekeys, low.kem_prekeys), (24, 37));
    fixture.clock.advance(Duration::from_secs(3600));
    assert_eq!([ask().await, ask().await], [2, 2]);

    let mut few = upload(99, 0, 0);
    few.one_time_prekeys = upload(99, 60, 0).one_time_prekeys.split_off(58);
    let request = wire::UploadNumberPrekeysRequest {
        phone_number_id: NUMBER.into(),
        upload: Some(few),
    };
    fixture
        .platform
        .upload_number_prekeys(Request::new(request))
        .await
        .unwrap();
    assert_eq!([ask().await, ask().await], [3, 3]);
}

#[tokio::test]
async fn a_number_registered_again_keeps_its_spent_prekeys_spent() {
    let fixture = Fixture::new().await;
    fixture.number(3, 3).await;
    let device = fixture.register(PEER, 1, 1).await;
    let ask = || async {
        let phone_number = "4930123456".into();
        let request = wire::FetchBusinessBundleRequest {
            phone_number,
            without_prekeys: false,
        };
        let answer = fixture
            .device
            .fetch_business_bundle(of(&device, request))
            .await
            .unwrap();
        let statement = answer.into_inner().bundle.unwrap().statement;
        let device = BundleStatement::decode(statement)
            .unwrap()
            .devices
            .remove(0);
        device.one_time_prekey.map(|prekey| prekey.id)
    };
    assert_eq!(ask().await, Some(1));
    fixture.number(3, 3).await;
    assert_eq!(
        [ask().await, ask().await, ask().await],
        [Some(2), Some(3), None]
    );
}

#[tokio::test]
async fn a_phone_number_is_one_number_or_one_consumer() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    fixture.register(PEER, 1, 1).await;
    let register = |id: &str, phone_number: &str| {
        let request = wire::RegisterNumberRequest {
            phone_number_id: id.into(),
            phone_number: phone_number.into(),
            display_name: "Other".into(),
            upload: Some(upload(7, 1, 1)),
            retention_seconds: 0,
        };
        fixture.platform.register_number(Request::new(request))
    };
    let taken = register("2", "4930123456").await;
    assert_eq!(
        refused(taken),
        (Code::AlreadyExists, "PHONE_NUMBER_TAKEN".into())
    );
    assert_eq!(refused(register("2", PEER).await).1, "NUMBER_IS_CONSUMER");
    assert_eq!(
        refused(register(PEER, "4930999999").await).1,
        "NUMBER_IS_CONSUMER"
    );
    register("2", "4930999999").await.unwrap();
}

#[tokio::test]
async fn a_number_with_a_new_identity_keeps_what_waits_and_hands_out_its_new_keys() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    hand_over(&fixture, &device, 1..2).await;
    let request = wire::RegisterNumberRequest {
        phone_number_id: NUMBER.into(),
        phone_number: "4930123456".into(),
        display_name: "Bakery".into(),
        upload: Some(upload(98, 1, 1)),
        retention_seconds: 0,
    };
    fixture
        .platform
        .register_number(Request::new(request))
        .await
        .unwrap();
    assert_eq!(first_bytes(&collected(&fixture).await), [1]);
    let request = wire::FetchBusinessBundleRequest {
        phone_number: "4930123456".into(),
        without_prekeys: false,
    };
    let answer = fixture
        .device
        .fetch_business_bundle(of(&device, request))
        .await
        .unwrap();
    let said = BundleStatement::decode(answer.into_inner().bundle.unwrap().statement).unwrap();
    assert_eq!(said.identity_key, upload(98, 0, 0).identity_key);
}
