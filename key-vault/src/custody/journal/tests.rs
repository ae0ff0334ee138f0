#![allow(clippy::unwrap_used)]
use super::*;

const T: Timestamp = Timestamp::from_secs(1_700_000_000);

struct Fixture {
    folder: tempfile::TempDir,
    root: Arc<RootKey>,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = RootKey::generate(&mut OsEntropy).unwrap();
        Self {
            folder,
            root: Arc::new(root),
        }
    }

    fn journal(&self) -> Journal {
        Journal::new(self.folder.path(), self.root.clone())
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join(FILE)
    }
}

fn entry(mark: u8, at: Timestamp) -> Entry {
    Entry {
        number: "106540352242922".to_owned(),
        erased: Erased::Subject(Tag([mark; 16])),
        at,
    }
}

#[test]
fn what_was_added_is_read_by_the_next_process_in_its_order_and_nobody_else_reads_it() {
    let fixture = Fixture::new();
    assert_eq!(fixture.journal().entries().unwrap(), []);
    let number = Entry {
        number: "1".repeat(MAX_NUMBER),
        erased: Erased::Number([9; 16]),
        at: T,
    };
    let added = [entry(1, T), number, entry(2, T)];
    for entry in &added {
        fixture.journal().append(entry).unwrap();
    }
    assert_eq!(fixture.journal().entries().unwrap(), added);
    let bytes = fs::read(fixture.file()).unwrap();
    assert_eq!(bytes.len(), 3 * SEALED_LEN);
    for open in [&[1; 16][..], b"106540352242922"] {
        assert!(!bytes.windows(open.len()).any(|window| window == open));
    }
    files::check_private(&fixture.file()).unwrap();
}

#[test]
fn what_a_power_cut_left_of_the_last_entry_is_dropped_and_the_next_takes_its_place() {
    for torn in [vec![7; 5], vec![0; SEALED_LEN]] {
        let fixture = Fixture::new();
        fixture.journal().append(&entry(1, T)).unwrap();
        let mut bytes = fs::read(fixture.file()).unwrap();
        bytes.extend_from_slice(&torn);
        fs::write(fixture.file(), bytes).unwrap();
        assert_eq!(fixture.journal().entries().unwrap(), [entry(1, T)]);
        fixture.journal().append(&entry(2, T)).unwrap();
        let both = [entry(1, T), entry(2, T)];
        assert_eq!(fixture.journal().entries().unwrap(), both);
    }
}

#[test]
fn an_entry_that_somebody_changed_or_another_key_sealed_stops_the_vault() {
    let fixture = Fixture::new();
    for mark in 1..=3 {
        fixture.journal().append(&entry(mark, T)).unwrap();
    }
    let stranger = Fixture::new();
    fs::copy(fixture.file(), stranger.file()).unwrap();
    assert!(matches!(
        stranger.journal().entries(),
        Err(KeyringError::Sealed)
    ));
    let mut bytes = fs::read(fixture.file()).unwrap();
    bytes[SEALED_LEN + 20] ^= 1;
    fs::write(fixture.file(), bytes).unwrap();
    assert!(matches!(
        fixture.journal().entries(),
        Err(KeyringError::Sealed)
    ));
}

#[test]
fn only_what_is_older_than_any_backup_may_be_is_forgotten() {
    let fixture = Fixture::new();
    let second = Duration::from_secs(1);
    for (mark, at) in [(1, T), (2, T + second), (3, T + MEMORY)] {
        fixture.journal().append(&entry(mark, at)).unwrap();
    }
    assert_eq!(fixture.journal().trim(T + MEMORY).unwrap(), 3);
    assert_eq!(fixture.journal().trimmed(T + MEMORY).unwrap().len(), 3);
    let left = fixture.journal().trimmed(T + MEMORY + second).unwrap();
    assert_eq!(left, fixture.journal().entries().unwrap());
    assert_eq!(left.len(), 2);
    assert_eq!(left[0], entry(2, T + second));
    fixture.journal().append(&entry(4, T + MEMORY)).unwrap();
    assert_eq!(fixture.journal().entries().unwrap().len(), 3);
}

#[test]
fn nothing_is_cut_off_once_the_root_key_is_wiped() {
    let fixture = Fixture::new();
    let journal = fixture.journal();
    for mark in 1..=2 {
        journal.append(&entry(mark, T)).unwrap();
    }
    let before = fs::read(fixture.file()).unwrap();
    fixture.root.wipe();
    assert!(matches!(journal.entries(), Err(KeyringError::Wiped)));
    assert!(matches!(
        journal.trim(T + MEMORY * 2),
        Err(KeyringError::Wiped)
    ));
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(fixture.file())
        .unwrap();
    assert!(matches!(journal.end(&mut file), Err(KeyringError::Wiped)));
    assert!(journal.append(&entry(3, T)).is_err());
    assert_eq!(fs::read(fixture.file()).unwrap(), before);
}
