-- A number that moves to another region: its records are on their way.
ALTER TABLE numbers ADD COLUMN moving_to TEXT; -- NULL: it is not moving

-- Every move that was asked for, step by step.
CREATE TABLE number_moves (
    move_id         BLOB    NOT NULL PRIMARY KEY, -- UUID, 16 bytes
    phone_number_id TEXT    NOT NULL REFERENCES numbers (phone_number_id),
    from_region     TEXT    NOT NULL,
    to_region       TEXT    NOT NULL,
    asked_by        TEXT    NOT NULL,             -- the operator's SPIFFE ID
    state           INTEGER NOT NULL,             -- 1 asked, 2 switched, 3 done, 4 failed
    moved_rows      INTEGER NOT NULL,
    asked_at        INTEGER NOT NULL,
    switched_at     INTEGER,
    finished_at     INTEGER
) STRICT;
CREATE INDEX number_moves_of_number ON number_moves (phone_number_id, asked_at);
CREATE INDEX number_moves_open ON number_moves (asked_at) WHERE finished_at IS NULL;
