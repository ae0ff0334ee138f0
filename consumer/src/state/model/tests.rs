#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;

fn key(number: u8, message: u8) -> MessageKey {
    (
        number.to_string().parse().unwrap(),
        MessageId([message; 16]),
    )
}

fn change() -> impl Strategy<Value = Change> {
    let kinds = prop_oneof![
        Just(PrekeyKind::OneTime),
        Just(PrekeyKind::Signed),
        Just(PrekeyKind::Kem),
        Just(PrekeyKind::LastResortKem)
    ];
    (0u8..14, kinds, 0u8..4, 0u8..4, 1u64..9).prop_map(|(what, kind, a, b, n)| match what {
        0 => Change::Prekey {
            kind,
            id: u32::from(a) + 1,
            record: vec![b; 3],
        },
        1 => Change::PrekeySpent {
            kind,
            id: u32::from(a) + 1,
        },
        2 => Change::PrekeysUploaded {
            kind,
            through: u32::from(b),
        },
        3 => Change::BaseKeySeen {
            kem: u32::from(a) + 1,
            signed: 1,
            base_key: [b; 33],
        },
        4 => Change::Pinned {
            number: key(a, b).0,
            identity_key: [b; 33],
        },
        5 => Change::Seen {
            key: key(a, b),
            time: Timestamp::from_millis(n),
        },
        6 => Change::SeenForgotten {
            before: Timestamp::from_millis(n),
        },
        7 => Change::Outgoing {
            sequence: n,
            message: Outgoing {
                envelope_id: [a; 16],
                message_id: MessageId([b; 16]),
                number: key(a, b).0,
                kind: 2,
                ciphertext: vec![a, b],
            },
        },
        8 => Change::OutgoingDone { sequence: n },
        9 => Change::Receipt {
            key: key(a, b),
            mark: ReceiptMark::Delivered,
            time: Timestamp::from_millis(n),
        },
        10 => Change::ReceiptDone {
            key: key(a, b),
            mark: ReceiptMark::Delivered,
        },
        11 => Change::Retry {
            key: key(a, b),
            failed_attempt: u32::from(b),
        },
        12 => Change::Event {
            sequence: n,
            kind: EventKind::Unreadable {
                phone_number_id: key(a, b).0,
                message_id: MessageId([b; 16]),
            },
        },
        _ => Change::Confirmed { through: n },
    })
}

fn bytes(changes: &[Change]) -> Vec<u8> {
    Change::encode_all(changes).unwrap().0.to_vec()
}

proptest! {
    #[test]
    fn a_snapshot_then_the_rest_equals_the_whole_history(
        history in prop::collection::vec(change(), 0..60),
        cut in 0usize..60,
    ) {
        let cut = cut.min(history.len());
        let mut whole = Model::default();
        let mut first = Model::default();
        for change in &history {
            whole.apply(change.clone());
        }
        for change in &history[..cut] {
            first.apply(change.clone());
        }
        let mut resumed = Model::default();
        for change in Change::decode_all(&bytes(&first.snapshot())).unwrap() {
            resumed.apply(change);
        }
        for change in &history[cut..] {
            resumed.apply(change.clone());
        }
        prop_assert_eq!(bytes(&whole.snapshot()), bytes(&resumed.snapshot()));
    }
}

#[test]
fn seen_messages_are_forgotten_by_age_alone() {
    let mut model = Model::default();
    for (message, time) in [(1, 10), (2, 20)] {
        model.apply(Change::Seen {
            key: key(1, message),
            time: Timestamp::from_millis(time),
        });
    }
    model.apply(Change::SeenForgotten {
        before: Timestamp::from_millis(20),
    });
    assert!(!model.has_seen(&key(1, 1)));
    assert!(model.has_seen(&key(1, 2)));
}
