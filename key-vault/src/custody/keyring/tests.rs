#![allow(clippy::unwrap_used)]
use super::*;

struct Fixture {
    folder: tempfile::TempDir,
    root: Arc<RootKey>,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Arc::new(RootKey::generate(&mut OsEntropy).unwrap());
        Keyring::create(
            &folder.path().join("keyring"),
            &root,
            Timestamp::from_secs(1000),
        )
        .unwrap();
        Self { folder, root }
    }

    fn open(&self) -> Keyring {
        Keyring::open(self.path(), self.root.clone()).unwrap()
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("keyring")
    }
}

fn epoch() -> EpochId {
    EpochId::from_parts(3600, 7200).unwrap()
}

fn at(seconds: u64) -> Now {
    Now::for_test(Timestamp::from_secs(seconds))
}

#[test]
fn a_key_is_made_once_and_found_again_by_another_process() {
    let fixture = Fixture::new();
    let first = fixture.open();
    assert!(first.for_opening(epoch(), at(7200)).unwrap().is_none());
    let key = first.for_sealing(epoch()).unwrap();
    let other = fixture
        .open()
        .for_opening(epoch(), at(7200))
        .unwrap()
        .unwrap();
    assert_eq!(key.expose(), other.expose());
    assert_eq!(
        fixture.open().for_sealing(epoch()).unwrap().expose(),
        key.expose()
    );
    assert_eq!(first.list().unwrap(), [epoch()].into());
}

#[test]
fn a_key_that_another_replica_destroyed_leaves_memory_though_our_clock_is_behind() {
    let fixture = Fixture::new();
    let (ahead, behind) = (fixture.open(), fixture.open());
    ahead.for_sealing(epoch()).unwrap();
    behind.for_opening(epoch(), at(7200)).unwrap().unwrap();
    ahead.destroy(epoch()).unwrap();
    assert!(
        behind.for_opening(epoch(), at(7200)).unwrap().is_some(),
        "the control: memory still has it"
    );
    behind.forget_destroyed().unwrap();
    assert!(behind.for_opening(epoch(), at(7200)).unwrap().is_none());
}

#[test]
fn replicas_that_make_a_key_at_the_same_moment_get_the_same_key() {
    let fixture = Fixture::new();
    let replicas: Vec<_> = (0..8).map(|_| fixture.open()).collect();
    let start = std::sync::Barrier::new(replicas.len());
    let make = |ring: &Keyring| {
        start.wait();
        *ring.for_sealing(epoch()).unwrap().expose()
    };
    let keys: BTreeSet<[u8; 32]> = std::thread::scope(|threads| {
        let makers: Vec<_> = replicas
            .iter()
            .map(|ring| threads.spawn(|| make(ring)))
            .collect();
        makers
            .into_iter()
            .map(|maker| maker.join().unwrap())
            .collect()
    });
    assert_eq!(keys.len(), 1);
}

#[test]
fn a_destroyed_key_is_gone_from_folder_and_memory() {
    let fixture = Fixture::new();
    let keyring = fixture.open();
    keyring.for_sealing(epoch()).unwrap();
    keyring.destroy(epoch()).unwrap();
    assert!(keyring.list().unwrap().is_empty());
    assert!(keyring.for_opening(epoch(), at(7200)).unwrap().is_none());
    assert_eq!(
        fs::read_dir(fixture.path()).unwrap().count(),
        1,
        "only the mark is left"
    );
    keyring.destroy(epoch()).unwrap();
}

#[test]
fn a_key_that_is_read_while_it_is_destroyed_is_kept_by_nobody() {
    let fixture = Fixture::new();
    let keyring = fixture.open();
    for _ in 0..50 {
        keyring.for_sealing(epoch()).unwrap();
        keyring.cache().clear();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| keyring.for_opening(epoch(), at(7200)).unwrap());
            }
            scope.spawn(|| keyring.destroy(epoch()).unwrap());
        });
        assert!(keyring.for_opening(epoch(), at(7200)).unwrap().is_none());
    }
}

#[test]
fn replicas_that_move_the_mark_at_once_never_move_it_back() {
    let fixture = Fixture::new();
    let replicas: Vec<Keyring> = (0..4).map(|_| fixture.open()).collect();
    for round in 1..20_u64 {
        std::thread::scope(|scope| {
            for (at, replica) in (0_u64..).zip(&replicas) {
                let time = Timestamp::from_secs(1000 + round * 10 + at);
                scope.spawn(move || assert!(replica.advance_mark(time).unwrap() >= time));
            }
        });
        let mark = fixture.open().mark().unwrap();
        assert_eq!(mark, Timestamp::from_secs(1000 + round * 10 + 3));
    }
}

#[test]
fn a_key_put_back_after_its_time_is_not_given_out() {
    let fixture = Fixture::new();
    let keyring = fixture.open();
    keyring.for_sealing(epoch()).unwrap();
    assert!(keyring.for_opening(epoch(), at(10_799)).unwrap().is_some());
    assert!(keyring.for_opening(epoch(), at(10_800)).unwrap().is_none());
}

#[test]
fn a_file_renamed_to_another_epoch_does_not_open() {
    let fixture = Fixture::new();
    let keyring = fixture.open();
    keyring.for_sealing(epoch()).unwrap();
    let other = EpochId::from_parts(3600, 7500).unwrap();
    fs::rename(keyring.path(epoch()), keyring.path(other)).unwrap();
    assert!(matches!(
        fixture.open().for_opening(other, at(7500)),
        Err(KeyringError::Sealed)
    ));
}

#[test]
fn the_mark_goes_forward_only_and_a_missing_one_is_refused() {
    let fixture = Fixture::new();
    let keyring = fixture.open();
    keyring.advance_mark(Timestamp::from_secs(2000)).unwrap();
    keyring.advance_mark(Timestamp::from_secs(1500)).unwrap();
    assert_eq!(fixture.open().mark().unwrap(), Timestamp::from_secs(2000));
    fs::remove_file(fixture.path().join(MARK)).unwrap();
    assert!(Keyring::open(fixture.path(), fixture.root.clone()).is_err());
}
