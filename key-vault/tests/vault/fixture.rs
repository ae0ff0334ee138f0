//! A vault in a folder, with a clock that stands still.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use sealpost_database::{
    Database, DatabaseError, Kind, PoolOptions,
    sqlx::{AssertSqlSafe, query, query_scalar},
    testing::TestDatabase,
};
use sealpost_envelope::{OsEntropy, SigningKey};
use sealpost_key_vault::{
    Config, MIGRATIONS, Vault, VaultError,
    custody::{init::init, unseal::NewSeal},
    service::StreamState,
};
use sealpost_proto::{
    record::v1::Record,
    vault::v1::{
        AdmitItem, AdmitRequest, Admitted, CheckRequest, ConfirmClockRequest, DecryptItem,
        DecryptRequest, Decrypted, EncryptItem, EncryptRequest, Encrypted, GetNumberRequest,
        GetNumberResponse, ListReceiptsRequest, ProvisionNumberResponse, Refusal, SerialReceipt,
        SessionRequired, admit_outcome, decrypt_outcome, encrypt_outcome,
    },
};
use sealpost_runtime::{Clock, Timestamp};

use crate::business::Business;

pub const NUMBER: &str = "106540352242922";
pub const OTHER_NUMBER: &str = "106540352242923";
pub const START: Timestamp = Timestamp::from_secs(1_780_000_000);

/// What a backup has; those that others refer to come first.
const TABLES: [&str; 13] = [
    "vault_keys",
    "numbers",
    "hpke_keys",
    "signed_prekeys",
    "one_time_prekeys",
    "kem_prekeys",
    "kem_used",
    "subjects",
    "erased",
    "sessions",
    "pending",
    "destructions",
    "receipts",
];

pub struct Fixture {
    place: TestDatabase,
    pub clock: Clock,
    pub config: Config,
    pub vault: Vault,
    pub relay: SigningKey,
    pub stream: StreamState,
}

/// What Encrypt answers when it does not refuse.
#[derive(Debug)]
pub enum Encryption {
    Encrypted(Encrypted),
    Required(SessionRequired),
}

impl Fixture {
    pub async fn new() -> Self {
        Self::on(TestDatabase::chosen().await).await
    }

    /// A vault that reads each row when it needs it: what its rows are made to say it meets at once.
    pub async fn forgetful() -> Self {
        Self::with(TestDatabase::chosen().await, Some(0)).await
    }

    pub async fn on(place: TestDatabase) -> Self {
        Self::with(place, None).await
    }

    async fn with(place: TestDatabase, session_cache_mib: Option<u32>) -> Self {
        let relay = SigningKey::generate(&mut OsEntropy).unwrap();
        let mut config = config(&place, &relay);
        config.session_cache_mib = session_cache_mib;
        let clock = Clock::manual(START);
        init(&config, &clock, &NewSeal::KeyFile).await.unwrap();
        let vault = Vault::open(&config, clock.clone()).await.unwrap();
        Self {
            place,
            clock,
            config,
            vault,
            relay,
            stream: StreamState::new(),
        }
    }

    /// A number of a new business.
    pub async fn number(
        &self,
        id: &str,
        retention_seconds: u32,
    ) -> (Business, ProvisionNumberResponse) {
        let business = Business::new(id);
        let provisioned = self
            .vault
            .provision_number(business.provision(retention_seconds))
            .await
            .unwrap();
        (business.pin(&provisioned), provisioned)
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Moves the clock as a stopped machine or an operator would, and confirms it.
    pub async fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.confirm_clock().await;
    }

    pub async fn confirm_clock(&self) {
        let now_ms = self.now().as_millis();
        self.vault
            .confirm_clock(ConfirmClockRequest { now_ms })
            .await
            .unwrap();
    }

    pub async fn admit(&self, item: AdmitItem) -> Result<Admitted, Refusal> {
        self.admit_all(vec![item]).await.unwrap().remove(0)
    }

    pub async fn admit_all(
        &self,
        items: Vec<AdmitItem>,
    ) -> Result<Vec<Result<Admitted, Refusal>>, VaultError> {
        let response = self
            .vault
            .admit(AdmitRequest { batch_id: 1, items })
            .await?;
        let outcome = |outcome| match outcome {
            admit_outcome::Outcome::Admitted(admitted) => Ok(admitted),
            admit_outcome::Outcome::Refused(refusal) => Err(Refusal::try_from(refusal).unwrap()),
        };
        Ok(response
            .outcomes
            .into_iter()
            .map(|item| outcome(item.outcome.unwrap()))
            .collect())
    }

    pub async fn encrypt(&self, item: EncryptItem) -> Result<Encryption, Refusal> {
        self.try_encrypt(item).await.unwrap()
    }

    pub async fn try_encrypt(
        &self,
        item: EncryptItem,
    ) -> Result<Result<Encryption, Refusal>, VaultError> {
        let mut response = self
            .vault
            .encrypt(EncryptRequest {
                batch_id: 1,
                items: vec![item],
            })
            .await?;
        Ok(match response.outcomes.remove(0).outcome.unwrap() {
            encrypt_outcome::Outcome::Encrypted(encrypted) => Ok(Encryption::Encrypted(encrypted)),
            encrypt_outcome::Outcome::SessionRequired(required) => {
                Ok(Encryption::Required(required))
            }
            encrypt_outcome::Outcome::Refused(refusal) => Err(Refusal::try_from(refusal).unwrap()),
        })
    }

    pub async fn decrypt(&self, item: DecryptItem) -> Result<Decrypted, Refusal> {
        self.decrypt_all(vec![item]).await.remove(0)
    }

    pub async fn decrypt_all(&self, items: Vec<DecryptItem>) -> Vec<Result<Decrypted, Refusal>> {
        let response = self
            .vault
            .decrypt(&self.stream, DecryptRequest { batch_id: 1, items })
            .await
            .unwrap();
        let outcome = |outcome| match outcome {
            decrypt_outcome::Outcome::Decrypted(decrypted) => Ok(decrypted),
            decrypt_outcome::Outcome::Refused(refusal) => Err(Refusal::try_from(refusal).unwrap()),
        };
        response
            .outcomes
            .into_iter()
            .map(|item| outcome(item.outcome.unwrap()))
            .collect()
    }

    /// What Check finds of one record.
    pub async fn check(&self, record: &Record) -> Refusal {
        let response = self
            .vault
            .check(CheckRequest {
                records: vec![record.clone()],
            })
            .await
            .unwrap();
        Refusal::try_from(response.findings[0]).unwrap()
    }

    pub async fn facts(&self, id: &str) -> GetNumberResponse {
        self.vault
            .get_number(GetNumberRequest {
                phone_number_id: id.to_owned(),
            })
            .await
            .unwrap()
    }

    /// Receipts after a serial.
    pub async fn receipts(&self, after: u64) -> Vec<SerialReceipt> {
        let request = ListReceiptsRequest {
            after,
            limit: 1_000,
        };
        self.vault.list_receipts(request).await.unwrap().receipts
    }

    /// Keeps all rows as they are now, as a backup does.
    pub async fn backup(&self) {
        for table in TABLES {
            self.tamper(&format!(
                "CREATE TABLE kept_{table} AS SELECT * FROM {table}"
            ))
            .await;
        }
    }

    /// Puts the kept rows in the place of the present ones and opens the vault on them.
    pub async fn restore(&mut self) -> Result<(), VaultError> {
        self.vault.close().await.unwrap();
        for table in TABLES.iter().rev() {
            self.tamper(&format!("DELETE FROM {table}")).await;
        }
        for table in TABLES {
            self.tamper(&format!("INSERT INTO {table} SELECT * FROM kept_{table}"))
                .await;
        }
        self.vault = Vault::open(&self.config, self.clock.clone()).await?;
        Ok(())
    }

    /// Closes the vault and opens it again with another clock.
    pub async fn reopen(&mut self, clock: Clock) {
        self.vault.close().await.unwrap();
        self.vault = Vault::open(&self.config, clock.clone()).await.unwrap();
        self.clock = clock;
        self.stream = StreamState::new();
    }

    /// Does to the database what the vault never would.
    /// Bytes as the dialect spells them in SQL.
    pub fn literal(&self, bytes: &[u8]) -> String {
        match self.place.kind() {
            Kind::Sqlite => format!("x'{}'", hex_of(bytes)),
            _ => format!("'\\x{}'", hex_of(bytes)),
        }
    }

    /// From here on no session can be written on, until [`Fixture::mend_sessions`].
    pub async fn break_sessions(&self) {
        self.tamper(match self.place.kind() {
            Kind::Sqlite => {
                "CREATE TRIGGER broken BEFORE UPDATE ON sessions BEGIN SELECT RAISE(ABORT, 'disk on fire'); END"
            }
            _ => "ALTER TABLE sessions ADD CONSTRAINT broken CHECK (row_version < 2) NOT VALID",
        })
        .await;
    }

    pub async fn mend_sessions(&self) {
        self.tamper(match self.place.kind() {
            Kind::Sqlite => "DROP TRIGGER broken",
            _ => "ALTER TABLE sessions DROP CONSTRAINT broken",
        })
        .await;
    }

    pub async fn tamper(&self, statement: &str) {
        let database = self.database().await;
        let statement = statement.to_owned();
        database
            .run_tx("tamper", move |tx| {
                let statement = statement.clone();
                Box::pin(async move {
                    query(AssertSqlSafe(statement)).execute(&mut **tx).await?;
                    Ok::<_, DatabaseError>(())
                })
            })
            .await
            .unwrap();
        database.close().await.unwrap();
    }

    pub async fn count(&self, table: &str) -> i64 {
        let database = self.database().await;
        let statement = format!("SELECT count(*) FROM {table}");
        database
            .read("count", move |db| {
                Box::pin(async move {
                    Ok::<i64, DatabaseError>(
                        query_scalar(AssertSqlSafe(statement))
                            .fetch_one(&mut **db)
                            .await?,
                    )
                })
            })
            .await
            .unwrap()
    }

    async fn database(&self) -> Database {
        Database::open(
            self.config.database.clone(),
            MIGRATIONS,
            PoolOptions::default(),
        )
        .await
        .unwrap()
    }

    pub fn keyring_files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.config.keyring).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "epoch")
            })
            .collect()
    }

    /// Whether any file of the vault's holds `bytes`.
    pub fn on_disk(&self, bytes: &[u8]) -> bool {
        fn holds(path: &Path, bytes: &[u8]) -> bool {
            if path.is_dir() {
                return fs::read_dir(path)
                    .unwrap()
                    .any(|entry| holds(&entry.unwrap().path(), bytes));
            }
            fs::read(path)
                .unwrap()
                .windows(bytes.len())
                .any(|window| window == bytes)
        }
        holds(self.place.folder(), bytes)
    }
}

pub fn config(place: &TestDatabase, relay: &SigningKey) -> Config {
    let key = hex_of(relay.verifying_key().as_bytes());
    let (url, folder) = (place.url(), place.folder().display());
    let text = format!(
        "database = '{url}'\nkeyring = '{folder}/keyring'\nroot_key = '{folder}/root.json'\n\
         relay_bundle_keys = ['{key}']\n[server]\nlisten = '127.0.0.1:0'\n\
         tls = {{ certificate = 'a', private_key = 'b', ca = 'c' }}\n\
         [unseal.key-file]\nfile = '{folder}/unseal.key'\n"
    );
    toml::from_str(&text).unwrap()
}

fn hex_of(bytes: &[u8]) -> String {
    hex::encode(bytes)
}
