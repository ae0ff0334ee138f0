#![allow(clippy::unwrap_used)]

use std::{fs, os::unix::fs::PermissionsExt};

use super::*;

fn root_of(bytes: u8) -> RootKey {
    RootKey::new(Secret::from_bytes([bytes; 32]))
}

fn bytes_of(root: &RootKey) -> [u8; 32] {
    *root.copied().unwrap().expose()
}

fn key_file(folder: &Path) -> UnsealConfig {
    UnsealConfig {
        key_file: Some(KeyFileConfig {
            file: folder.join("unseal.key"),
        }),
        ..UnsealConfig::default()
    }
}

fn passphrase(text: &str) -> NewSeal {
    NewSeal::Passphrase(Zeroizing::new(text.to_owned()))
}

const SAID: &str = "correct horse battery";

#[test]
fn a_key_file_is_made_once_and_unseals_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let config = key_file(folder.path());
    let (sealed, shares) = seal(&root_of(7), &NewSeal::KeyFile, &config).unwrap();
    assert!(shares.is_empty() && sealed.is_automatic());
    let opened = open(&sealed, &Secrets::Automatic, &config).unwrap();
    assert_eq!(bytes_of(&opened), [7; 32]);
    // A second root key is sealed with the same file.
    let (other, _) = seal(&root_of(8), &NewSeal::KeyFile, &config).unwrap();
    assert_eq!(
        bytes_of(&open(&other, &Secrets::Automatic, &config).unwrap()),
        [8; 32]
    );
}

#[test]
fn a_key_file_that_others_may_read_or_of_another_length_or_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = key_file(folder.path());
    let (sealed, _) = seal(&root_of(7), &NewSeal::KeyFile, &config).unwrap();
    let file = folder.path().join("unseal.key");
    let opened = |config: &UnsealConfig| open(&sealed, &Secrets::Automatic, config).map(drop);

    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(opened(&config), Err(UnsealError::File(..))));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    opened(&config).unwrap();
    fs::write(&file, [0; 31]).unwrap();
    assert!(matches!(opened(&config), Err(UnsealError::File(..))));
    fs::write(&file, [0; 32]).unwrap();
    assert!(matches!(opened(&config), Err(UnsealError::Refused)));
    fs::remove_file(&file).unwrap();
    assert!(matches!(opened(&config), Err(UnsealError::File(..))));
    assert!(matches!(
        opened(&UnsealConfig::default()),
        Err(UnsealError::NotConfigured("key-file"))
    ));
}

#[test]
fn a_passphrase_unseals_and_another_does_not() {
    let config = UnsealConfig::default();
    let (sealed, _) = seal(&root_of(7), &passphrase(SAID), &config).unwrap();
    assert!(!sealed.is_automatic());
    let opened = open(&sealed, &Secrets::Passphrase(SAID), &config).unwrap();
    assert_eq!(bytes_of(&opened), [7; 32]);
    for wrong in ["correct horse batterz", "", &SAID[1..]] {
        let refused = open(&sealed, &Secrets::Passphrase(wrong), &config).map(drop);
        assert!(matches!(refused, Err(UnsealError::Refused)), "{wrong}");
    }
    assert!(matches!(
        open(&sealed, &Secrets::Automatic, &config).map(drop),
        Err(UnsealError::OtherProvider("passphrase"))
    ));
    assert!(matches!(
        seal(&root_of(7), &passphrase("elevenbytes"), &config).map(drop),
        Err(UnsealError::Unfit(_))
    ));
}

#[test]
fn any_threshold_of_the_shares_unseals_and_fewer_do_not() {
    let config = UnsealConfig::default();
    let new = NewSeal::Shamir {
        shares: 5,
        threshold: 3,
    };
    let (sealed, shares) = seal(&root_of(7), &new, &config).unwrap();
    assert_eq!(sealed.sharing(), Some((5, 3)));
    assert_eq!(shares.len(), 5);
    let opened = |some: &[usize]| {
        let some: Vec<_> = some.iter().map(|at| shares[*at].clone()).collect();
        open(&sealed, &Secrets::Shares(&some), &config).map(|root| bytes_of(&root))
    };
    for enough in [&[0, 1, 2][..], &[4, 2, 0], &[3, 1, 4], &[0, 1, 2, 3, 4]] {
        assert_eq!(opened(enough).unwrap(), [7; 32], "{enough:?}");
    }
    for few in [&[][..], &[0], &[1, 2], &[1, 1, 1]] {
        assert!(matches!(opened(few), Err(UnsealError::Refused)), "{few:?}");
    }
}

#[test]
fn a_forged_share_and_one_of_another_set_unseal_nothing() {
    let config = UnsealConfig::default();
    let new = NewSeal::Shamir {
        shares: 3,
        threshold: 2,
    };
    let (sealed, shares) = seal(&root_of(7), &new, &config).unwrap();
    let (_, others) = seal(&root_of(7), &new, &config).unwrap();
    assert!(sealed.takes(&shares[0]) && !sealed.takes(&others[0]));
    let mixed = [shares[0].clone(), others[1].clone()];
    assert!(open(&sealed, &Secrets::Shares(&mixed), &config).is_err());

    let text = shares[1].to_text();
    let forged = hex_changed(&text, 60);
    assert!(forged.parse::<Share>().is_err(), "the check sees it");
    for (shares, threshold) in [(1, 1), (2, 1), (2, 3), (0, 0)] {
        let new = NewSeal::Shamir { shares, threshold };
        let refused = seal(&root_of(7), &new, &config).map(drop);
        assert!(matches!(refused, Err(UnsealError::Unfit(_))));
    }
}

#[test]
fn a_share_survives_being_written_down() {
    let new = NewSeal::Shamir {
        shares: 255,
        threshold: 2,
    };
    let (sealed, shares) = seal(&root_of(7), &new, &UnsealConfig::default()).unwrap();
    let places: std::collections::BTreeSet<_> = shares.iter().map(Share::place).collect();
    assert_eq!(places.len(), 255);
    for share in &shares {
        let read: Share = format!(" {}\n", share.to_text().as_str()).parse().unwrap();
        assert_eq!(read.place(), share.place());
        assert!(sealed.takes(&read));
    }
    let text = shares[0].to_text();
    for bad in ["", "sealpost-share-1-", &text[1..], &text[..text.len() - 1]] {
        assert!(bad.parse::<Share>().is_err(), "{bad}");
    }
    assert!(!format!("{:?}", shares[0]).contains(&text[40..60]));
}

#[test]
fn whatever_is_changed_in_the_file_unseals_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.json");
    let config = UnsealConfig::default();
    let (sealed, _) = seal(&root_of(7), &passphrase(SAID), &config).unwrap();
    sealed.create(&path).unwrap();
    assert!(sealed.create(&path).is_err(), "nor made twice");
    let text = fs::read_to_string(&path).unwrap();
    let opened = |text: &str| {
        fs::write(&path, text).unwrap();
        let read = SealedRoot::read(&path)?.unwrap();
        open(&read, &Secrets::Passphrase(SAID), &config).map(drop)
    };
    opened(&text).unwrap();
    for (from, to) in [
        ("\"passes\": 3", "\"passes\": 1"),
        ("65536", "8"),
        ("65536", "4194304"),
        ("passphrase", "development"),
        ("\"version\": 1", "\"version\": 2"),
        ("\"lanes\"", "\"lines\""),
    ] {
        assert!(text.contains(from), "{from}");
        assert!(opened(&text.replace(from, to)).is_err(), "{from} {to}");
    }
    for field in ["\"salt\": \"", "\"sealed\": \""] {
        let at = text.find(field).unwrap() + field.len();
        assert!(matches!(
            opened(&hex_changed(&text, at)),
            Err(UnsealError::Refused)
        ));
    }
    assert!(
        SealedRoot::read(&folder.path().join("none"))
            .unwrap()
            .is_none()
    );
}

#[test]
fn another_provider_takes_over_and_the_old_secret_unseals_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.json");
    let config = key_file(folder.path());
    let root = root_of(7);
    let (first, _) = seal(&root, &NewSeal::KeyFile, &config).unwrap();
    first.create(&path).unwrap();
    let (second, _) = seal(&root, &passphrase(SAID), &config).unwrap();
    second.replace(&first, &path).unwrap();
    // Whoever began before that is told, and loses nobody's secret.
    let (third, _) = seal(&root, &NewSeal::KeyFile, &config).unwrap();
    assert!(matches!(
        third.replace(&first, &path),
        Err(UnsealError::Changed)
    ));
    let read = SealedRoot::read(&path).unwrap().unwrap();
    assert!(matches!(
        open(&read, &Secrets::Automatic, &config).map(drop),
        Err(UnsealError::OtherProvider("passphrase"))
    ));
    let opened = open(&read, &Secrets::Passphrase(SAID), &config).unwrap();
    assert_eq!(bytes_of(&opened), [7; 32]);
}

/// The text with one hex digit changed.
fn hex_changed(text: &str, at: usize) -> String {
    let other = if &text[at..=at] == "0" { "1" } else { "0" };
    format!("{}{other}{}", &text[..at], &text[at + 1..])
}
