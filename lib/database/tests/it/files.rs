//! What is on the disk: permissions, settings, what is erased, what is left after closing.

use std::{collections::BTreeSet, os::unix::fs::PermissionsExt, path::Path};

use clap::Parser as _;
use sealpost_database::{
    Checkpoint, DatabaseCommand, DatabaseCommandError, DatabaseError, PoolOptions,
    sqlx::{query, query_scalar},
};

use crate::{Fixture, ids, insert, open};

#[tokio::test]
async fn file_log_and_folder_are_private_to_the_user() {
    let fixture = Fixture::new().await;
    insert(&fixture.database, 1).await.unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let file = fixture.file();
    assert_eq!(mode(file.parent().unwrap()), 0o700);
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(&file.with_extension("db-wal")), 0o600);
    assert_eq!(mode(&file.with_extension("db-shm")), 0o600);

    // A restored file that came back readable by others is closed to them again.
    fixture.database.close().await.unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    open(&fixture.folder, PoolOptions::default()).await.unwrap();
    assert_eq!(mode(&file), 0o600);
}

#[tokio::test]
async fn the_settings_that_survive_a_kill_and_erase_what_is_deleted_are_on() {
    let fixture = Fixture::new().await;
    let wanted = [
        ("PRAGMA synchronous", 2_i64),
        ("PRAGMA secure_delete", 1),
        ("PRAGMA foreign_keys", 1),
        ("PRAGMA auto_vacuum", 2),
        ("PRAGMA temp_store", 2),
        ("PRAGMA busy_timeout", 10_000),
        ("PRAGMA mmap_size", 0),
    ];
    let read_back = fixture.database.run_tx("settings", move |tx| {
        Box::pin(async move {
            for (pragma, wanted) in wanted {
                let found: i64 = query_scalar(pragma)
                    .fetch_optional(&mut **tx)
                    .await?
                    .unwrap_or(0);
                assert_eq!(found, wanted, "{pragma}");
            }
            let journal: String = query_scalar("PRAGMA journal_mode")
                .fetch_one(&mut **tx)
                .await?;
            assert_eq!(journal, "wal");
            Ok::<_, DatabaseError>(())
        })
    });
    read_back.await.unwrap();
}

#[tokio::test]
async fn a_deleted_rows_content_is_in_no_file_after_a_checkpoint() {
    let fixture = Fixture::new().await;
    let content = b"an unmistakable content of a row".repeat(400);
    let (inserted, file) = (content.clone(), fixture.file());
    let found = || {
        [file.clone(), file.with_extension("db-wal")]
            .iter()
            .any(|file| {
                std::fs::read(file)
                    .is_ok_and(|bytes| bytes.windows(32).any(|window| window == &content[..32]))
            })
    };
    let work = fixture.database.run_tx("left_insert", move |tx| {
        let content = inserted.clone();
        Box::pin(async move {
            query("INSERT INTO lefts VALUES (1, $1)")
                .bind(content)
                .execute(&mut **tx)
                .await?;
            Ok::<_, DatabaseError>(())
        })
    });
    work.await.unwrap();
    assert!(found(), "the search finds nothing: the test proves nothing");

    let work = fixture.database.run_tx("left_delete", |tx| {
        Box::pin(async move {
            query("DELETE FROM lefts WHERE id = 1")
                .execute(&mut **tx)
                .await?;
            Ok::<_, DatabaseError>(())
        })
    });
    work.await.unwrap();
    assert_eq!(
        fixture.database.checkpoint().await.unwrap(),
        Checkpoint::Complete
    );
    assert!(!found());

    let before = file.metadata().unwrap().len();
    assert_eq!(fixture.database.incremental_vacuum(1_000).await.unwrap(), 0);
    assert_eq!(
        fixture.database.checkpoint().await.unwrap(),
        Checkpoint::Complete
    );
    assert!(
        file.metadata().unwrap().len() < before,
        "no page was given back"
    );
}

#[tokio::test]
async fn closing_empties_the_log_and_refuses_later_work() {
    let fixture = Fixture::new().await;
    insert(&fixture.database, 1).await.unwrap();
    fixture.database.close().await.unwrap();
    assert!(!fixture.file().with_extension("db-wal").exists());
    assert!(matches!(
        insert(&fixture.database, 2).await,
        Err(DatabaseError::Closed)
    ));

    let database = open(&fixture.folder, PoolOptions::default()).await.unwrap();
    assert_eq!(ids(&database).await.0, BTreeSet::from([1]));
}

#[tokio::test]
async fn a_file_that_was_not_closed_in_order_is_looked_over_at_the_next_start() {
    let fixture = Fixture::new().await;
    let long = fixture.database.run_tx("long", |tx| {
        Box::pin(async move {
            query("INSERT INTO lefts (id, content) VALUES (1, zeroblob(100000))")
                .execute(&mut **tx)
                .await?;
            Ok::<_, DatabaseError>(())
        })
    });
    long.await.unwrap();
    let _ = fixture.database.checkpoint().await.unwrap();
    insert(&fixture.database, 400).await.unwrap();
    // What a kill leaves: the file and its log.
    let copy = tempfile::tempdir().unwrap();
    let [file, log] = [fixture.file(), fixture.file().with_extension("db-wal")];
    let take = |damage: bool| {
        let mut bytes = std::fs::read(&file).unwrap();
        if damage {
            // A page that the log does not have.
            let page = bytes.len() / 2 / 4096 * 4096;
            bytes[page..page + 4096].fill(0xff);
        }
        let state = copy.path().join("state");
        std::fs::create_dir_all(&state).unwrap();
        let to = |path: &Path| state.join(path.file_name().unwrap());
        let _ = std::fs::remove_file(to(&file.with_extension("db-shm")));
        std::fs::write(to(&file), bytes).unwrap();
        std::fs::copy(&log, to(&log)).unwrap();
    };
    take(false);
    let database = open(&copy, PoolOptions::default()).await.unwrap();
    assert!(ids(&database).await.0.contains(&400));
    database.close().await.unwrap();

    take(true);
    let refused = open(&copy, PoolOptions::default()).await;
    assert!(
        matches!(refused, Err(DatabaseError::Damaged)),
        "{refused:?}"
    );
}

#[tokio::test]
async fn the_check_command_finds_damage_and_makes_no_file() {
    #[derive(clap::Parser)]
    struct Program {
        #[command(subcommand)]
        command: DatabaseCommand,
    }
    let check = async |file: &Path| {
        let url = format!("sqlite:{}", file.display());
        let program = Program::parse_from(["service", "check", "--database", &url]);
        program.command.run(&[]).await
    };
    let fixture = Fixture::new().await;
    for id in 0..400 {
        insert(&fixture.database, id).await.unwrap();
    }
    check(&fixture.file()).await.unwrap();
    fixture.database.close().await.unwrap();
    let mut bytes = std::fs::read(fixture.file()).unwrap();
    let end = bytes.len();
    bytes[end - 4096..].fill(0xff);
    std::fs::write(fixture.file(), bytes).unwrap();
    let found = check(&fixture.file()).await.unwrap_err();
    assert_eq!(
        found.to_string(),
        "the database is damaged; restore it from a backup"
    );
    // In order, as far as anybody can see: a start takes no time for it.
    open(&fixture.folder, PoolOptions::default()).await.unwrap();

    let absent = fixture.folder.path().join("absent.db");
    assert!(matches!(
        check(&absent).await,
        Err(DatabaseCommandError::Absent(_))
    ));
    assert!(!absent.exists());
}
