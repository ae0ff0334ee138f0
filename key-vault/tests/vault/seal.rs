//! A vault that is sealed, unsealed and sealed again.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use sealpost_database::testing::TestDatabase;
use sealpost_envelope::{OsEntropy, SigningKey};
use sealpost_key_vault::{
    Config, Keeper, Proof, SealStatus, VaultError,
    containment::contain,
    custody::{
        init::InitError,
        unseal::{KeyFileConfig, NewSeal, Pkcs11Config, Share, UnsealConfig, UnsealError},
    },
};
use sealpost_proto::vault::v1::{GetNumberRequest, SealState};
use sealpost_runtime::{Clock, server::Services};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::{
    business::Business,
    fixture::{NUMBER, START, config},
};

const PASSPHRASE: &str = "seven words that nobody has ever said";

/// A vault that was not made yet, in a folder of its own.
struct Unmade {
    place: TestDatabase,
    config: Config,
}

impl Unmade {
    async fn new() -> Self {
        let place = TestDatabase::chosen().await;
        let relay = SigningKey::generate(&mut OsEntropy).unwrap();
        let mut config = config(&place, &relay);
        config.unseal = UnsealConfig::default();
        Self { place, config }
    }

    /// A process of it.
    fn keeper(&self) -> Keeper {
        let services = Services::new(sealpost_proto::FILE_DESCRIPTOR_SET).unwrap();
        let clock = Clock::manual(START);
        Keeper::new(
            self.config.clone(),
            clock,
            services.health(),
            CancellationToken::new(),
        )
    }

    async fn started(&self) -> Keeper {
        let keeper = self.keeper();
        keeper.start().await.unwrap();
        keeper
    }

    fn key_file(&self) -> KeyFileConfig {
        KeyFileConfig {
            file: self.place.folder().join("unseal.key"),
        }
    }
}

fn passphrase(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

fn state(status: &SealStatus) -> SealState {
    status.state()
}

async fn provision(keeper: &Keeper) -> String {
    let business = Business::new(NUMBER);
    let vault = keeper.vault().unwrap();
    let provisioned = vault
        .provision_number(business.provision(3_600))
        .await
        .unwrap();
    assert!(provisioned.upload.is_some());
    fingerprint(keeper).await
}

/// Of the number's signing key, which only the root key opens.
async fn fingerprint(keeper: &Keeper) -> String {
    let request = GetNumberRequest {
        phone_number_id: NUMBER.to_owned(),
    };
    let number = keeper.vault().unwrap().get_number(request).await.unwrap();
    number.vault_fingerprint
}

#[tokio::test]
async fn a_passphrase_unseals_after_every_start_and_a_wrong_one_costs_a_second() {
    let unmade = Unmade::new().await;
    let keeper = unmade.started().await;
    let status = keeper.status().await.unwrap();
    assert_eq!(state(&status), SealState::Uninitialised);
    assert!(matches!(
        keeper.unseal_by_passphrase(passphrase(PASSPHRASE)).await,
        Err(VaultError::NotInitialised)
    ));

    let new = NewSeal::Passphrase(passphrase(PASSPHRASE));
    let (status, shares) = keeper.initialise(new).await.unwrap();
    assert_eq!(
        (state(&status), status.provider.as_str(), shares.len()),
        (SealState::Sealed, "passphrase", 0)
    );
    assert!(matches!(keeper.vault(), Err(VaultError::Sealed)));
    keeper
        .unseal_by_passphrase(passphrase(PASSPHRASE))
        .await
        .unwrap();
    let fingerprint_before = provision(&keeper).await;
    keeper.close().await.unwrap();

    let keeper = unmade.started().await;
    assert!(matches!(keeper.vault(), Err(VaultError::Sealed)));
    let begun = Instant::now();
    assert!(matches!(
        keeper
            .unseal_by_passphrase(passphrase("seven words that somebody has said"))
            .await,
        Err(VaultError::Unseal(UnsealError::Refused))
    ));
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let status = keeper
        .unseal_by_passphrase(passphrase(PASSPHRASE))
        .await
        .unwrap();
    assert_eq!(state(&status), SealState::Unsealed);
    assert_eq!(fingerprint(&keeper).await, fingerprint_before);
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn shares_unseal_together_one_after_the_other() {
    let unmade = Unmade::new().await;
    let keeper = unmade.started().await;
    let new = NewSeal::Shamir {
        shares: 5,
        threshold: 3,
    };
    let (status, texts) = keeper.initialise(new).await.unwrap();
    assert_eq!((status.shares, status.threshold, texts.len()), (5, 3, 5));
    let share = |at: usize| texts[at].parse::<Share>().unwrap();

    let given = async |at: usize| keeper.unseal_by_share(share(at)).await;
    assert_eq!(given(4).await.unwrap().given, 1);
    assert_eq!(given(4).await.unwrap().given, 1, "the same one counts once");
    assert_eq!(given(0).await.unwrap().given, 2);
    assert!(matches!(keeper.vault(), Err(VaultError::Sealed)));
    let status = given(2).await.unwrap();
    assert_eq!((state(&status), status.given), (SealState::Unsealed, 0));
    provision(&keeper).await;
    keeper.close().await.unwrap();

    // No one of them, nor anything on the disk, says the key.
    for file in files(unmade.place.folder()) {
        let bytes = fs::read(&file).unwrap();
        for text in &texts {
            let point = &text.as_bytes()[text.len() - 72..text.len() - 8];
            assert!(!bytes.windows(64).any(|window| window == point), "{file:?}");
        }
    }
}

#[tokio::test]
async fn a_wrong_share_takes_those_that_were_given_with_it() {
    let unmade = Unmade::new().await;
    let keeper = unmade.started().await;
    let new = NewSeal::Shamir {
        shares: 3,
        threshold: 2,
    };
    let (_, texts) = keeper.initialise(new).await.unwrap();
    let elsewhere = Unmade::new().await;
    let other = elsewhere.started().await;
    let new = NewSeal::Shamir {
        shares: 3,
        threshold: 2,
    };
    let (_, foreign) = other.initialise(new).await.unwrap();
    let share = |text: &str| text.parse::<Share>().unwrap();

    keeper.unseal_by_share(share(&texts[0])).await.unwrap();
    assert!(matches!(
        keeper.unseal_by_share(share(&foreign[1])).await,
        Err(VaultError::Unseal(UnsealError::Unfit(_)))
    ));
    assert_eq!(keeper.status().await.unwrap().given, 1, "it costs nothing");

    // Whole, of this set, and forged: its check is made to fit.
    let forged = forge(&texts[1]);
    assert!(matches!(
        keeper.unseal_by_share(share(&forged)).await,
        Err(VaultError::Unseal(UnsealError::Refused))
    ));
    assert_eq!(keeper.status().await.unwrap().given, 0);
    keeper.unseal_by_share(share(&texts[2])).await.unwrap();
    let status = keeper.unseal_by_share(share(&texts[0])).await.unwrap();
    assert_eq!(state(&status), SealState::Unsealed);
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn nobody_initialises_a_vault_twice() {
    let unmade = Unmade::new().await;
    let keeper = unmade.started().await;
    let new = || NewSeal::Passphrase(passphrase(PASSPHRASE));
    let made = tokio::join!(keeper.initialise(new()), keeper.initialise(new()));
    assert!(matches!(
        made,
        (Ok(_), Err(VaultError::Init(InitError::Initialised(_))))
            | (Err(VaultError::Init(InitError::Initialised(_))), Ok(_))
    ));
    keeper
        .unseal_by_passphrase(passphrase(PASSPHRASE))
        .await
        .unwrap();
    assert!(keeper.initialise(new()).await.is_err());
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn sealing_waits_for_what_is_under_way_and_unsealing_goes_on_where_it_was() {
    let unmade = Unmade::new().await;
    let keeper = unmade.started().await;
    let new = NewSeal::Passphrase(passphrase(PASSPHRASE));
    keeper.initialise(new).await.unwrap();
    let unseal = async || {
        keeper
            .unseal_by_passphrase(passphrase(PASSPHRASE))
            .await
            .unwrap()
    };
    unseal().await;
    let before = provision(&keeper).await;
    for _ in 0..3 {
        let calls: Vec<_> = (0..16)
            .map(|_| {
                let keeper = keeper.clone();
                tokio::spawn(async move {
                    let mut done = 0;
                    while let Ok(vault) = keeper.vault() {
                        let request = GetNumberRequest {
                            phone_number_id: NUMBER.to_owned(),
                        };
                        done += u32::from(vault.get_number(request).await.is_ok());
                    }
                    done
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let status = keeper.seal().await.unwrap();
        assert_eq!(state(&status), SealState::Sealed);
        assert!(matches!(keeper.vault(), Err(VaultError::Sealed)));
        let mut done = 0;
        for call in calls {
            done += call.await.unwrap();
        }
        assert!(done > 0);
        unseal().await;
        assert_eq!(fingerprint(&keeper).await, before);
    }
    assert_eq!(state(&keeper.seal().await.unwrap()), SealState::Sealed);
    assert_eq!(state(&keeper.seal().await.unwrap()), SealState::Sealed);
}

#[tokio::test]
async fn a_root_key_goes_from_provider_to_provider_and_nothing_is_lost() {
    let mut unmade = Unmade::new().await;
    unmade.config.unseal.key_file = Some(unmade.key_file());
    assert!(
        matches!(
            unmade.keeper().start().await,
            Err(VaultError::NotInitialised)
        ),
        "its operators expect a vault that serves"
    );
    let keeper = unmade.keeper();
    keeper.initialise(NewSeal::KeyFile).await.unwrap();
    keeper.unseal().await.unwrap();
    let before = provision(&keeper).await;

    let shamir = || NewSeal::Shamir {
        shares: 3,
        threshold: 2,
    };
    let share = |text: &Zeroizing<String>| text.parse::<Share>().unwrap();

    // Shares of which nobody is known to have any change nothing: a process that ends now is unsealed as before.
    let (status, lost) = keeper
        .change_provider(shamir(), Proof::Nothing)
        .await
        .unwrap();
    assert_eq!(
        (state(&status), status.provider.as_str(), status.pending),
        (SealState::Unsealed, "key-file", true)
    );
    keeper.close().await.unwrap();
    let keeper = unmade.started().await;
    assert_eq!(fingerprint(&keeper).await, before);
    let status = keeper.unseal_by_share(share(&lost[0])).await.unwrap();
    assert_eq!((status.pending, status.given), (false, 0));

    let (_, texts) = keeper
        .change_provider(shamir(), Proof::Nothing)
        .await
        .unwrap();
    assert!(keeper.unseal_by_share(share(&lost[0])).await.is_err());
    let status = keeper.unseal_by_share(share(&texts[2])).await.unwrap();
    assert_eq!((status.pending, status.given), (true, 1));
    let status = keeper.unseal_by_share(share(&texts[1])).await.unwrap();
    assert_eq!(
        (state(&status), status.provider.as_str(), status.pending),
        (SealState::Unsealed, "shamir", false)
    );
    keeper.close().await.unwrap();

    // By itself it unseals no more, though the key file is there.
    let keeper = unmade.started().await;
    assert!(matches!(
        keeper.unseal().await,
        Err(VaultError::Unseal(UnsealError::OtherProvider("shamir")))
    ));
    for text in &texts[..2] {
        keeper.unseal_by_share(share(text)).await.unwrap();
    }
    assert_eq!(fingerprint(&keeper).await, before);

    // An operator's certificate alone changes nothing that persons unseal.
    for proof in [Proof::Nothing, Proof::Shares(vec![share(&texts[0])])] {
        let refused = keeper.change_provider(NewSeal::KeyFile, proof).await;
        assert!(matches!(refused, Err(VaultError::Unseal(_))));
    }
    let enough = texts[..2].iter().map(share).collect();
    keeper
        .change_provider(NewSeal::KeyFile, Proof::Shares(enough))
        .await
        .unwrap();
    keeper.close().await.unwrap();

    let keeper = unmade.started().await;
    assert_eq!(fingerprint(&keeper).await, before);
    assert!(matches!(
        keeper
            .change_provider(NewSeal::Pkcs11, Proof::Nothing)
            .await,
        Err(VaultError::Unseal(UnsealError::NotConfigured("pkcs11")))
    ));
    assert!(matches!(
        keeper
            .change_provider(NewSeal::Development, Proof::Nothing)
            .await,
        Err(VaultError::Init(InitError::NotDevelopment))
    ));
    keeper.close().await.unwrap();
    assert!(matches!(
        keeper
            .change_provider(NewSeal::KeyFile, Proof::Nothing)
            .await,
        Err(VaultError::Sealed)
    ));
}

#[tokio::test]
async fn a_development_key_is_for_development_alone() {
    let mut unmade = Unmade::new().await;
    assert!(matches!(
        unmade.keeper().initialise(NewSeal::Development).await,
        Err(VaultError::Init(InitError::NotDevelopment))
    ));
    unmade.config.development = true;
    let keeper = unmade.keeper();
    keeper.initialise(NewSeal::Development).await.unwrap();
    keeper.unseal().await.unwrap();
    keeper.close().await.unwrap();
    unmade.config.development = false;
    assert!(matches!(
        unmade.keeper().start().await,
        Err(VaultError::Init(InitError::NotDevelopment))
    ));
}

/// The library finds its tokens by a variable of its process's environment: this test runs itself again with it.
#[tokio::test]
async fn a_key_in_a_pkcs11_token_unseals_by_itself_and_never_leaves_it() {
    const NAME: &str = "seal::a_key_in_a_pkcs11_token_unseals_by_itself_and_never_leaves_it";
    let Some(settings) = std::env::var_os(SoftHsm::SETTINGS) else {
        let folder = tempfile::tempdir().unwrap();
        let again = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(SoftHsm::SETTINGS, SoftHsm::make(folder.path()))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&again.stdout);
        assert!(
            again.status.success() && said.contains("1 passed"),
            "{said}"
        );
        return;
    };
    let mut unmade = Unmade::new().await;
    let settings = Path::new(&settings);
    let token = SoftHsm::beside(settings);
    unmade.config.unseal.pkcs11 = Some(token.config());
    // As the vault does, before it loads anybody's library.
    unmade.config.containment.write = settings.parent().map(Path::to_owned).into_iter().collect();
    contain(&unmade.config).unwrap();
    let keeper = unmade.keeper();
    keeper.initialise(NewSeal::Pkcs11).await.unwrap();
    let status = keeper.unseal().await.unwrap();
    assert_eq!(status.provider, "pkcs11");
    let before = provision(&keeper).await;
    keeper.close().await.unwrap();

    let keeper = unmade.started().await;
    assert_eq!(fingerprint(&keeper).await, before);
    // To a key file and back: by a key of the token's that is new.
    unmade.config.unseal.key_file = Some(unmade.key_file());
    keeper.close().await.unwrap();
    let keeper = unmade.started().await;
    for new in [NewSeal::KeyFile, NewSeal::Pkcs11] {
        keeper.change_provider(new, Proof::Nothing).await.unwrap();
    }
    keeper.close().await.unwrap();

    // Tokens count wrong PINs: it stays up and sealed, and asks no second time by itself.
    let pin = fs::read(&token.config().pin_file).unwrap();
    fs::write(&token.config().pin_file, "999999").unwrap();
    let keeper = unmade.started().await;
    assert_eq!(state(&keeper.status().await.unwrap()), SealState::Sealed);
    fs::write(&token.config().pin_file, pin).unwrap();
    keeper.unseal().await.unwrap();
    keeper.close().await.unwrap();
    let mut elsewhere = token.config();
    "another".clone_into(&mut elsewhere.token);
    unmade.config.unseal.pkcs11 = Some(elsewhere);
    assert!(matches!(
        unmade.keeper().start().await,
        Err(VaultError::Unseal(UnsealError::Token(_)))
    ));
    unmade.config.unseal.pkcs11 = Some(token.config());
    let keeper = unmade.started().await;
    assert_eq!(fingerprint(&keeper).await, before);
    keeper.close().await.unwrap();
}

/// A token in software, in a folder of the test's.
struct SoftHsm {
    pin_file: PathBuf,
}

impl SoftHsm {
    const LABEL: &str = "sealpost test";
    const SETTINGS: &str = "SOFTHSM2_CONF";

    /// Makes it; answers the file of its settings.
    fn make(folder: &Path) -> PathBuf {
        let tokens = folder.join("tokens");
        fs::create_dir(&tokens).unwrap();
        let settings = folder.join("softhsm2.conf");
        let text = format!("directories.tokendir = {}\n", tokens.display());
        fs::write(&settings, text).unwrap();
        let made = Command::new("softhsm2-util")
            .env(Self::SETTINGS, &settings)
            .args(["--init-token", "--free", "--label", Self::LABEL])
            .args(["--so-pin", "87654321", "--pin", "123456"])
            .output()
            .expect("softhsm2-util: install softhsm2, as .ci/prerequisites does");
        assert!(made.status.success(), "{made:?}");
        settings
    }

    /// The one with these settings.
    fn beside(settings: &Path) -> Self {
        let pin_file = settings.with_file_name("pin");
        fs::write(&pin_file, "123456\n").unwrap();
        fs::set_permissions(&pin_file, fs::Permissions::from_mode(0o600)).unwrap();
        Self { pin_file }
    }

    fn config(&self) -> Pkcs11Config {
        Pkcs11Config {
            module: PathBuf::from("/usr/lib/softhsm/libsofthsm2.so"),
            token: Self::LABEL.to_owned(),
            key: "sealpost-root".to_owned(),
            pin_file: self.pin_file.clone(),
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// The share with a byte of its point changed and a check that fits.
fn forge(text: &str) -> String {
    const PREFIX: &str = "sealpost-share-1-";
    let mut bytes = hex::decode(&text[PREFIX.len()..]).unwrap();
    let body = bytes.len() - 4;
    bytes[body - 1] ^= 1;
    let check = sealpost_envelope::kdf::sha256(&[b"sealpost/share/v1", &bytes[..body]]);
    bytes[body..].copy_from_slice(&check[..4]);
    format!("{PREFIX}{}", hex::encode(bytes))
}

#[tokio::test]
async fn what_a_crash_left_of_an_initialisation_is_begun_again() {
    let new = || NewSeal::Passphrase(passphrase(PASSPHRASE));
    let elsewhere = Unmade::new().await;
    elsewhere.started().await.initialise(new()).await.unwrap();
    // It died after the root key, before the rest.
    let unmade = Unmade::new().await;
    fs::copy(&elsewhere.config.root_key, &unmade.config.root_key).unwrap();
    let keeper = unmade.started().await;
    assert!(matches!(
        keeper.unseal_by_passphrase(passphrase(PASSPHRASE)).await,
        Err(VaultError::NotInitialised)
    ));
    keeper.initialise(new()).await.unwrap();
    keeper
        .unseal_by_passphrase(passphrase(PASSPHRASE))
        .await
        .unwrap();
    provision(&keeper).await;
    keeper.close().await.unwrap();
}
