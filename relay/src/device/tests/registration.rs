//! Codes, and who may register with one.

use super::*;

#[tokio::test]
async fn a_code_works_once() {
    let fixture = Fixture::new().await;
    let code = fixture.code(PEER).await;
    let answer = try_code(&fixture, PEER, &code).await.unwrap();
    assert_eq!(answer.device_id, 1);
    let again = try_code(&fixture, PEER, &code).await;
    assert_eq!(
        refused(again),
        (GrpcCode::PermissionDenied, "CODE_REFUSED".into())
    );
}

#[tokio::test]
async fn a_code_ends_after_ten_minutes() {
    let fixture = Fixture::new().await;
    let code = fixture.code(PEER).await;
    fixture.clock.advance(Duration::from_secs(600));
    assert_eq!(
        refused(try_code(&fixture, PEER, &code).await).1,
        "CODE_REFUSED"
    );
    let code = fixture.code(PEER).await;
    fixture.clock.advance(Duration::from_secs(599));
    try_code(&fixture, PEER, &code).await.unwrap();
}

#[tokio::test]
async fn five_wrong_guesses_end_a_code_and_four_do_not() {
    let fixture = Fixture::new().await;
    for (guesses, works) in [(4, true), (5, false)] {
        let code = fixture.code(PEER).await;
        for _ in 0..guesses {
            assert_eq!(
                refused(try_code(&fixture, PEER, wrong(&code)).await).1,
                "CODE_REFUSED"
            );
        }
        assert_eq!(
            try_code(&fixture, PEER, &code).await.is_ok(),
            works,
            "{guesses}"
        );
    }
}

#[tokio::test]
async fn a_code_is_for_its_number_only() {
    let fixture = Fixture::new().await;
    let code = fixture.code(PEER).await;
    assert_eq!(
        refused(try_code(&fixture, OTHER, &code).await).1,
        "CODE_REFUSED"
    );
}

#[tokio::test]
async fn a_malformed_upload_neither_spends_the_code_nor_counts_as_a_guess() {
    let fixture = Fixture::new().await;
    let code = fixture.code(PEER).await;
    for _ in 0..6 {
        let request = wire::RegisterRequest {
            phone_number: PEER.into(),
            code: code.clone(),
            upload: None,
        };
        assert_eq!(
            field_of(fixture.device.register(Request::new(request)).await),
            "upload"
        );
    }
    try_code(&fixture, PEER, &code).await.unwrap();
}

#[tokio::test]
async fn codes_for_one_number_are_limited_and_others_are_not_held_up() {
    let fixture = Fixture::new().await;
    for _ in 0..5 {
        fixture.code(PEER).await;
    }
    let request = Request::new(wire::RequestCodeRequest {
        phone_number: PEER.into(),
    });
    let status = fixture.device.request_code(request).await.unwrap_err();
    assert_eq!(status.code(), GrpcCode::ResourceExhausted);
    assert!(status.get_error_details().retry_info().is_some());
    fixture.code(OTHER).await;
    fixture.clock.advance(Duration::from_secs(720));
    fixture.code(PEER).await;
}

#[tokio::test]
async fn codes_to_one_source_are_limited() {
    let fixture = Fixture::with_limits(LimitsConfig {
        codes_per_source: 2,
        ..LimitsConfig::default()
    })
    .await;
    let source = Source::of("192.0.2.1".parse().unwrap());
    let number = |index: u32| validate::phone_number("n", &format!("49151000000{index}")).unwrap();
    for index in 0..2 {
        fixture
            .relay
            .send_code(number(index), Some(source))
            .await
            .unwrap();
    }
    let third = fixture.relay.send_code(number(2), Some(source)).await;
    assert!(matches!(third, Err(RelayError::TooMany { .. })));
    let elsewhere = Source::of("192.0.2.2".parse().unwrap());
    fixture
        .relay
        .send_code(number(2), Some(elsewhere))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_business_number_cannot_be_registered_as_a_consumer() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    for number in ["4930123456", NUMBER] {
        let request = Request::new(wire::RequestCodeRequest {
            phone_number: number.into(),
        });
        let answer = fixture.device.request_code(request).await;
        assert_eq!(
            refused(answer),
            (GrpcCode::PermissionDenied, "NUMBER_IS_BUSINESS".into())
        );
    }
}

#[tokio::test]
async fn registering_anew_replaces_the_device_its_stream_and_its_queue() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let old = fixture.register(PEER, 1, 1).await;
    send(&fixture, &old, 1, 1..2).await;
    let mut receiving = Receiving::start(&fixture, &old).await;
    receiving.take(1).await;

    let new = fixture.register(PEER, 2, 1).await;
    assert_eq!((old.device_id, new.device_id), (1, 2));
    let ended = receiving.page().await;
    assert_eq!(
        refused(ended),
        (GrpcCode::Unauthenticated, "DEVICE_UNKNOWN".into())
    );
    let again = receive::start(
        fixture.relay.clone(),
        old,
        stream::pending(),
        CancellationToken::new(),
    );
    assert!(matches!(again.await, Err(RelayError::DeviceUnknown)));
    assert!(Receiving::start(&fixture, &new).await.is_quiet().await);
}
