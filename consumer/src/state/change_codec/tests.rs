//! The stored bytes of changes.

#![allow(clippy::unwrap_used)]
use zeroize::Zeroizing;

use super::*;
use crate::{ids::PhoneNumberId, seal::Note, state::Kept};

fn number() -> PhoneNumberId {
    "106540352242922".parse().unwrap()
}

#[test]
fn stored_bytes_do_not_change() {
    let key = (number(), MessageId([0x11; 16]));
    let pinned = [
        (
            Change::Seen {
                key: key.clone(),
                time: Timestamp::from_millis(256),
            },
            "0b0000000f3130363534303335323234323932321111111111111111111111111111111100000000000\
             00100",
        ),
        (
            Change::PrekeySpent {
                kind: PrekeyKind::Kem,
                id: 7,
            },
            "040300000007",
        ),
        (Change::Confirmed { through: 3 }, "140000000000000003"),
        (
            Change::Kept {
                envelope_id: [0x22; 16],
                message: Box::new(Kept {
                    note: Note {
                        number: number(),
                        message_id: MessageId([0x11; 16]),
                        time: Timestamp::from_millis(256),
                        padded: Zeroizing::new(vec![0x80]),
                    },
                    attempt: 1,
                    identity_key: [0x33; 33],
                    base_key: vec![0x44],
                }),
            },
            "16222222222222222222222222222222220000000f3130363534303335323234323932321111111111111111\
             11111111111111110000000000000100000000018000000001333333333333333333333333333333333333\
             3333333333333333333333333333330000000144",
        ),
        (
            Change::Asked {
                envelope_id: [0x22; 16],
                failed_attempt: 2,
            },
            "182222222222222222222222222222222200000002",
        ),
        (
            Change::Receipt {
                key,
                mark: ReceiptMark::Read,
                time: Timestamp::from_millis(1),
            },
            "0f0000000f3130363534303335323234323932321111111111111111111111111111111102000000000\
             0000001",
        ),
    ];
    for (change, bytes) in pinned {
        let written = Change::encode_all(std::slice::from_ref(&change)).unwrap();
        assert_eq!(hex::encode(&*written.0), bytes);
        let read = Change::decode_all(&written.0).unwrap();
        assert_eq!(*Change::encode_all(&read).unwrap().0, *written.0);
    }
}

#[test]
fn unknown_kinds_and_cut_values_are_refused() {
    assert!(Change::decode_all(&[99]).is_err());
    assert!(Change::decode_all(&hex::decode("0403000000").unwrap()).is_err());
    assert!(Change::decode_all(&hex::decode("040900000007").unwrap()).is_err());
    assert!(Change::decode_all(&[]).unwrap().is_empty());
}
