#![allow(clippy::unwrap_used)]
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
};

use sealpost_runtime::Timestamp;

use super::*;
use crate::ids::MessageId;

fn seen(message: u8) -> Change {
    Change::Seen {
        key: ("106540352242922".parse().unwrap(), MessageId([message; 16])),
        time: Timestamp::from_millis(u64::from(message)),
    }
}

fn bytes_of(state: &State) -> Vec<u8> {
    Change::encode_all(&state.model.snapshot())
        .unwrap()
        .0
        .to_vec()
}

#[test]
fn a_state_reopens_as_it_was_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut state = State::open(&path).unwrap();
    state.commit(vec![seen(1), seen(2)]).unwrap();
    state.commit(vec![seen(3)]).unwrap();
    let before = bytes_of(&state);
    drop(state);
    assert_eq!(bytes_of(&State::open(&path).unwrap()), before);
}

#[test]
fn a_cut_tail_is_dropped_and_the_log_goes_on_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut state = State::open(&path).unwrap();
    state.commit(vec![seen(1)]).unwrap();
    let after_first = fs::metadata(&path).unwrap().len();
    let first = bytes_of(&state);
    state.commit(vec![seen(2)]).unwrap();
    let whole = fs::read(&path).unwrap();
    drop(state);

    for cut in after_first..whole.len() as u64 {
        fs::write(&path, &whole[..usize::try_from(cut).unwrap()]).unwrap();
        let mut state = State::open(&path).unwrap();
        assert_eq!(bytes_of(&state), first, "cut at {cut}");
        state.commit(vec![seen(3)]).unwrap();
        let longer = bytes_of(&state);
        drop(state);
        assert_eq!(bytes_of(&State::open(&path).unwrap()), longer);
    }
}

#[test]
fn a_damaged_file_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut state = State::open(&path).unwrap();
    state.commit(vec![seen(1)]).unwrap();
    drop(state);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(State::open(&path), Err(StateError::Damaged(_))));
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_compacted_log_equals_the_history_that_it_replaces() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut state = State::open(&path).unwrap();
    let mut longest = 0;
    let mut compacted = false;
    for round in 0..40u32 {
        let record = vec![round as u8; 64 * 1024];
        state
            .commit(vec![Change::Prekey {
                kind: PrekeyKind::OneTime,
                id: 7,
                record,
            }])
            .unwrap();
        let length = fs::metadata(&path).unwrap().len();
        compacted |= length < longest;
        longest = length;
    }
    assert!(compacted);
    state.commit(vec![seen(9)]).unwrap();
    let before = bytes_of(&state);
    drop(state);
    assert_eq!(bytes_of(&State::open(&path).unwrap()), before);
    assert!(!folder.path().join("state.new").exists());
}

#[test]
fn a_state_is_open_in_one_place_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let state = State::open(&path).unwrap();
    assert!(matches!(State::open(&path), Err(StateError::Locked)));
    drop(state);
    assert!(State::open(&path).is_ok());
}

#[test]
fn only_the_owner_reads_the_files_and_a_shared_key_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    drop(State::open(&path).unwrap());
    for name in ["state", "state.key", "state.lock"] {
        let mode = fs::metadata(folder.path().join(name)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let key = folder.path().join("state.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(State::open(&path), Err(StateError::KeyFile(_))));
}

#[test]
fn a_state_without_its_key_is_not_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    drop(State::open(&path).unwrap());
    fs::remove_file(folder.path().join("state.key")).unwrap();
    assert!(matches!(State::open(&path), Err(StateError::Io { .. })));
    assert!(!folder.path().join("state.key").exists());
}
