//! Keys of businesses, and of the device itself.

use super::*;

#[tokio::test]
async fn a_business_bundle_is_signed_for_the_asking_consumer() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    let ask = |without_prekeys| {
        let request = wire::FetchBusinessBundleRequest {
            phone_number: "4930123456".into(),
            without_prekeys,
        };
        fixture.device.fetch_business_bundle(of(&device, request))
    };
    let answer = ask(false).await.unwrap().into_inner();
    assert_eq!(
        (
            answer.phone_number_id.as_str(),
            answer.display_name.as_str()
        ),
        (NUMBER, "Bakery")
    );

    let bundle = answer.bundle.unwrap();
    let public = VerifyingKey::from_bytes(&fixture.public_key).unwrap();
    let signature = Signature::from_slice(&bundle.signature).unwrap();
    public.verify_strict(&bundle.statement, &signature).unwrap();
    let said = BundleStatement::decode(bundle.statement).unwrap();
    assert_eq!(
        (said.requester.as_str(), said.peer.as_str()),
        (PEER, NUMBER)
    );
    assert_eq!(said.devices.len(), 1);
    assert_eq!(
        (said.devices[0].device_id, said.devices[0].registration_id),
        (1, 99)
    );
    assert!(said.devices[0].one_time_prekey.is_some());
    assert_eq!(said.devices[0].kem_prekey.as_ref().unwrap().id, 2);

    // The one-time prekeys are gone; the last-resort one stays.
    for _ in 0..2 {
        let bundle = ask(false).await.unwrap().into_inner().bundle.unwrap();
        let device = BundleStatement::decode(bundle.statement)
            .unwrap()
            .devices
            .remove(0);
        assert!(device.one_time_prekey.is_none());
        assert_eq!(device.kem_prekey.unwrap().id, 1);
    }
    let bundle = ask(true).await.unwrap().into_inner().bundle.unwrap();
    let device = BundleStatement::decode(bundle.statement)
        .unwrap()
        .devices
        .remove(0);
    assert!(device.signed_prekey.is_none() && device.kem_prekey.is_none());
}

#[tokio::test]
async fn a_device_cannot_empty_a_numbers_prekeys() {
    let limits = LimitsConfig {
        bundles_per_device: 3,
        ..LimitsConfig::default()
    };
    let fixture = Fixture::with_limits(limits).await;
    fixture.number(10, 10).await;
    let device = fixture.register(PEER, 1, 1).await;
    let ask = |without_prekeys| {
        let phone_number = "4930123456".into();
        let request = wire::FetchBusinessBundleRequest {
            phone_number,
            without_prekeys,
        };
        fixture.device.fetch_business_bundle(of(&device, request))
    };
    for _ in 0..3 {
        ask(false).await.unwrap();
    }
    assert_eq!(refused(ask(false).await).1, "RATE_LIMITED");
    ask(true).await.unwrap();
}

#[tokio::test]
async fn a_repeated_upload_does_not_bring_back_a_spent_prekey() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 3).await;
    let request = wire::FetchBundleRequest {
        phone_number_id: NUMBER.into(),
        peer: PEER.into(),
        known_devices: Vec::new(),
        without_prekeys: false,
    };
    use wire::platform_service_server::PlatformService;
    fixture
        .platform
        .fetch_bundle(Request::new(request))
        .await
        .unwrap();
    let upload_again = wire::UploadPrekeysRequest {
        upload: Some(upload(1, 4, 4)),
    };
    fixture
        .device
        .upload_prekeys(of(&device, upload_again))
        .await
        .unwrap();
    let counts = fixture
        .device
        .get_prekey_count(of(&device, wire::GetPrekeyCountRequest {}));
    let counts = counts.await.unwrap().into_inner();
    assert_eq!((counts.one_time_prekeys, counts.kem_prekeys), (3, 3));
}

#[tokio::test]
async fn an_upload_of_another_identity_is_refused() {
    let fixture = Fixture::new().await;
    let device = fixture.register(PEER, 1, 1).await;
    let request = wire::UploadPrekeysRequest {
        upload: Some(upload(2, 1, 1)),
    };
    let answer = fixture.device.upload_prekeys(of(&device, request)).await;
    assert_eq!(
        refused(answer),
        (GrpcCode::FailedPrecondition, "IDENTITY_DIFFERS".into())
    );
}
