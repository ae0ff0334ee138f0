-- How far the vault's receipts have been fetched. One row.
CREATE TABLE collected (
    name   TEXT    NOT NULL PRIMARY KEY,
    serial INTEGER NOT NULL -- the vault's, of the last one kept
) STRICT;
