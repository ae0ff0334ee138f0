-- Numbers whose records another store keeps: they take no writes here.
CREATE TABLE departures (
    phone_number_id TEXT    NOT NULL PRIMARY KEY,
    departed_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
