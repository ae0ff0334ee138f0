//! `docs/data-retention.md` lists every column that any service keeps, and no other.
//!
//! Owns the comparison of the page with the schemas. A schema is what the database crate makes of a room's migration files for
//! SQLite in an empty file (each room tests that PostgreSQL's make the same tables): nothing is parsed but the page. Invariant:
//! a room with migrations and no section, a column without a row, a row without a column and a row without an answer each fail.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use sealpost_database::{
    Database, DatabaseError, Migration, PoolOptions,
    sqlx::{AssertSqlSafe, query_as},
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const PAGE: &str = "docs/data-retention.md";
/// Cells of a row: column, what, why, how long, who deletes it, form, promise.
const CELLS: usize = 7;
const FORMS: [&str; 4] = ["plain", "sealed", "digest", "public key"];
const PROMISES: [&str; 7] = [
    "access", "audit", "billing", "blind", "durable", "erasure", "limit",
];

/// `table.column`s by room: the folder of the crate that keeps them.
type Columns = BTreeMap<String, BTreeSet<String>>;

#[tokio::test]
async fn the_page_lists_every_stored_column_and_no_other() {
    let rooms = rooms();
    assert!(rooms.len() >= 6, "rooms with a database: {rooms:?}");
    let mut stored = Columns::new();
    for room in rooms {
        let columns = schema(&files(&room)).await;
        stored.insert(room, columns);
    }
    let listed = listed(&page()).unwrap_or_else(|error| panic!("{PAGE}: {error}"));
    assert_eq!(differences(&stored, &listed), Vec::<String>::new());
}

#[tokio::test]
async fn a_column_that_a_later_migration_adds_is_missed_on_the_page() {
    let mut migrations = files("key-vault");
    migrations
        .push("ALTER TABLE subjects ADD COLUMN phone_number TEXT; CREATE TABLE diary (entry BLOB) STRICT;".to_owned());
    let stored = one_room(schema(&migrations).await);
    let mut listed = listed(&page()).unwrap();
    listed.retain(|room, _| room == "key-vault");
    assert_eq!(
        differences(&stored, &listed),
        [
            "key-vault: diary.entry is stored and not listed",
            "key-vault: subjects.phone_number is stored and not listed",
        ]
    );
}

#[tokio::test]
async fn a_column_that_is_gone_is_noticed_on_the_page() {
    let mut migrations = files("key-vault");
    migrations.push("ALTER TABLE erased DROP COLUMN erased_at_ms;".to_owned());
    // Its indexes stand in the way of the column, as it would of a real migration.
    migrations
        .last_mut()
        .unwrap()
        .insert_str(0, "DROP INDEX erased_by_time; DROP INDEX erased_by_end; ");
    let stored = one_room(schema(&migrations).await);
    let mut listed = listed(&page()).unwrap();
    listed.retain(|room, _| room == "key-vault");
    assert_eq!(
        differences(&stored, &listed),
        ["key-vault: erased.erased_at_ms is listed and not stored"]
    );
}

#[test]
fn a_room_that_the_page_does_not_know_is_missed() {
    let stored = Columns::from([(
        "ledger".to_owned(),
        BTreeSet::from(["lines.sum".to_owned()]),
    )]);
    assert_eq!(
        differences(&stored, &Columns::new()),
        ["ledger: lines.sum is stored and not listed"]
    );
}

#[test]
fn a_row_without_every_answer_is_refused() {
    let table = |row: &str| format!("## store\n\n| column | what |\n| --- | --- |\n{row}\n");
    let whole = "| `a.b` `.c` | id | order | 30 days | purge | plain | limit, erasure |";
    let good = listed(&table(whole)).unwrap();
    assert_eq!(
        good["store"],
        BTreeSet::from(["a.b".to_owned(), "a.c".to_owned()])
    );
    for (from, to, reason) in [
        ("30 days", "", "an empty cell"),
        ("| purge ", "", "6 cells"),
        ("plain", "secret", "no form"),
        ("limit, erasure", "luck", "no promise"),
        ("`a.b` `.c`", "a.b", "names no column"),
        ("`a.b` `.c`", "`b`", "names no column"),
        ("`.c`", "`.b`", "stands there twice"),
    ] {
        let error = listed(&table(&whole.replace(from, to))).unwrap_err();
        assert!(error.contains(reason), "{from} -> {to}: {error}");
    }
}

fn one_room(columns: BTreeSet<String>) -> Columns {
    Columns::from([("key-vault".to_owned(), columns)])
}

/// What stands on one side alone, in words.
fn differences(stored: &Columns, listed: &Columns) -> Vec<String> {
    let flat = |columns: &Columns| -> BTreeSet<String> {
        let named = |(room, columns): (&String, &BTreeSet<String>)| {
            let room = room.clone();
            let columns = columns.clone().into_iter();
            columns.map(move |column| format!("{room}: {column}"))
        };
        columns.iter().flat_map(named).collect()
    };
    let (stored, listed) = (flat(stored), flat(listed));
    let unlisted = stored.difference(&listed);
    let gone = listed.difference(&stored);
    unlisted
        .map(|column| format!("{column} is stored and not listed"))
        .chain(gone.map(|column| format!("{column} is listed and not stored")))
        .collect()
}

fn page() -> String {
    fs::read_to_string(Path::new(ROOT).join(PAGE)).unwrap()
}

/// Reads the page: under `## room`, the tables whose first heading is `column`.
fn listed(page: &str) -> Result<Columns, String> {
    let mut columns = Columns::new();
    let mut room = None;
    let mut counts = false;
    for line in page.lines().map(str::trim) {
        if let Some(heading) = line.strip_prefix("## ") {
            room = Some(heading.to_owned());
        }
        let Some(row) = line.strip_prefix('|').and_then(|row| row.strip_suffix('|')) else {
            counts = false;
            continue;
        };
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        if cells[0] == "column" {
            counts = true;
        } else if counts && !cells[0].starts_with("---") {
            let room = room.as_ref().ok_or("a table before the first room")?;
            let known = columns.entry(room.clone()).or_default();
            for column in row_columns(&cells).map_err(|error| format!("{room}: {line}: {error}"))? {
                if !known.insert(column.clone()) {
                    return Err(format!("{room}: {column} stands there twice"));
                }
            }
        }
    }
    Ok(columns)
}

/// The columns that a row is about: `` `table.column` ``, and `` `.column` `` of the same table.
fn row_columns(cells: &[&str]) -> Result<Vec<String>, String> {
    if cells.len() != CELLS {
        return Err(format!("{} cells", cells.len()));
    }
    if cells.contains(&"") {
        return Err("an empty cell".to_owned());
    }
    if !FORMS.contains(&cells[5]) {
        return Err(format!("no form: {}", cells[5]));
    }
    if !cells[6]
        .split(", ")
        .all(|promise| PROMISES.contains(&promise))
    {
        return Err(format!("no promise: {}", cells[6]));
    }
    let mut table = "";
    let mut columns = Vec::new();
    for name in cells[0].split_whitespace() {
        let parts = name
            .strip_prefix('`')
            .and_then(|name| name.strip_suffix('`'))
            .and_then(|name| name.split_once('.'));
        let (named, column) = parts.ok_or_else(|| format!("{name} names no column"))?;
        if !named.is_empty() {
            table = named;
        }
        if table.is_empty() || column.is_empty() {
            return Err(format!("{name} names no column"));
        }
        columns.push(format!("{table}.{column}"));
    }
    Ok(columns)
}

/// Every folder of the workspace that has migrations, whichever crate a later founder gives some.
fn rooms() -> Vec<String> {
    let mut rooms = Vec::new();
    let mut open: Vec<PathBuf> = vec![PathBuf::new()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(Path::new(ROOT).join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let skipped = name.starts_with('.') || name == "target" || name == "node_modules";
            if skipped || !entry.file_type().unwrap().is_dir() {
                continue;
            }
            if name == "migrations" {
                rooms.push(folder.to_str().unwrap().to_owned());
            } else {
                open.push(folder.join(name));
            }
        }
    }
    rooms
}

/// A room's migrations, in their order.
fn files(room: &str) -> Vec<String> {
    let folder = Path::new(ROOT).join(room).join("migrations/sqlite");
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|ending| ending == "sql"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{room} has no migration");
    let read = |file: &PathBuf| fs::read_to_string(file).unwrap();
    files.iter().map(read).collect()
}

/// Every `table.column` of a database that these migrations made.
async fn schema(migrations: &[String]) -> BTreeSet<String> {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().join("schema.db");
    let url = url.to_str().unwrap().parse().unwrap();
    let steps: Vec<Migration> = (1..)
        .zip(migrations)
        // The crate embeds its migrations, so it wants them for as long as the process lives.
        .map(|(version, sql)| Migration::new(version, "step", sql.clone().leak(), ""))
        .collect();
    let database = Database::open(url, &steps, PoolOptions::default())
        .await
        .unwrap();
    // `xinfo` also names generated columns; what SQLite and sqlx keep for themselves is no service's.
    let columns: Vec<(String, String)> = database
        .read("schema", |reader| {
            Box::pin(async move {
                let sql = "SELECT t.name, c.name FROM sqlite_schema AS t, pragma_table_xinfo(t.name) AS c \
                     WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND t.name <> '_sqlx_migrations'";
                Ok::<_, DatabaseError>(query_as(AssertSqlSafe(sql)).fetch_all(&mut **reader).await?)
            })
        })
        .await
        .unwrap();
    database.close().await.unwrap();
    columns
        .into_iter()
        .map(|(table, column)| format!("{table}.{column}"))
        .collect()
}
