//! What sqlx's `Any` driver costs against the SQLite driver alone: the same statements on the same kind of file, timed.
//!
//! `cargo run --release -p sealpost-database --example any_cost`

#![allow(clippy::disallowed_methods, clippy::print_stdout)]

use std::time::Instant;

use sealpost_database::sqlx::{
    AnyConnection, Connection, SqliteConnection, any::install_default_drivers, query, raw_sql,
};

const ROWS: i64 = 20_000;
const BYTES: usize = 1_024;

macro_rules! time {
    ($connection:ty, $url:expr) => {{
        let mut db = <$connection>::connect($url).await?;
        raw_sql(
            "CREATE TABLE rows (id INTEGER PRIMARY KEY, a TEXT, b BLOB, c INTEGER) STRICT; BEGIN",
        )
        .execute(&mut db)
        .await?;
        let blob = vec![7_u8; BYTES];
        let began = Instant::now();
        for id in 0..ROWS {
            query("INSERT INTO rows VALUES ($1, $2, $3, $4)")
                .bind(id)
                .bind("100000000000001")
                .bind(&blob[..])
                .bind(id * 2)
                .execute(&mut db)
                .await?;
        }
        let written = began.elapsed();
        let began = Instant::now();
        for id in 0..ROWS {
            query("SELECT a, b, c FROM rows WHERE id = $1")
                .bind(id)
                .fetch_one(&mut db)
                .await?;
        }
        let read = began.elapsed();
        let each = |time: std::time::Duration| time.as_micros() as f64 / ROWS as f64;
        println!(
            "{}: {:.1} µs a write, {:.1} µs a read",
            stringify!($connection),
            each(written),
            each(read)
        );
    }};
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    install_default_drivers();
    let folder = tempfile::tempdir()?;
    let url = |name: &str| format!("sqlite://{}/{name}.db?mode=rwc", folder.path().display());
    for round in 0..3 {
        time!(SqliteConnection, &url(&format!("direct{round}")));
        time!(AnyConnection, &url(&format!("any{round}")));
    }
    Ok(())
}
