-- Receipts: the vault's signed words that a key is gone.
CREATE TABLE receipts (
    receipt_id        INTEGER PRIMARY KEY AUTOINCREMENT,
    statement         BLOB    NOT NULL UNIQUE, -- as signed
    signature         BLOB    NOT NULL,
    verification_key  BLOB    NOT NULL,
    retention_seconds INTEGER,                 -- of an epoch, else NULL
    epoch_start       INTEGER,
    phone_number_id   TEXT,                    -- of a subject, else NULL
    tag               BLOB,
    destroyed_at      INTEGER NOT NULL,
    received_at       INTEGER NOT NULL,
    rows_deleted_at   INTEGER,                 -- in every store
    settled_at        INTEGER,                 -- nothing can follow any more
    CHECK ((epoch_start IS NULL) <> (tag IS NULL))
) STRICT;
CREATE INDEX receipts_open ON receipts (receipt_id) WHERE settled_at IS NULL;
CREATE INDEX receipts_by_age ON receipts (received_at);

-- Runs of the jobs.
CREATE TABLE runs (
    run_id             INTEGER PRIMARY KEY AUTOINCREMENT,
    started_at         INTEGER NOT NULL,
    finished_at        INTEGER NOT NULL,
    epochs_destroyed   INTEGER NOT NULL,
    store_rows_deleted INTEGER NOT NULL,
    relay_rows_deleted INTEGER NOT NULL,
    failure            TEXT    NOT NULL, -- a fixed code; empty when nothing went wrong
    dry_run            INTEGER NOT NULL
) STRICT;
CREATE INDEX runs_by_age ON runs (started_at);

-- The vault's receipt key, as first seen. One row.
CREATE TABLE pins (
    name      TEXT    NOT NULL PRIMARY KEY,
    key       BLOB    NOT NULL,
    pinned_at INTEGER NOT NULL
) STRICT;
