-- A number that moves to another region: its records are on their way.
ALTER TABLE numbers ADD COLUMN moving_to TEXT COLLATE "C"; -- NULL: it is not moving

-- Every move that was asked for, step by step.
CREATE TABLE number_moves (
    move_id         BYTEA            NOT NULL PRIMARY KEY, -- UUID, 16 bytes
    phone_number_id TEXT COLLATE "C" NOT NULL REFERENCES numbers (phone_number_id),
    from_region     TEXT COLLATE "C" NOT NULL,
    to_region       TEXT COLLATE "C" NOT NULL,
    asked_by        TEXT COLLATE "C" NOT NULL,             -- the operator's SPIFFE ID
    state           BIGINT           NOT NULL,             -- 1 asked, 2 switched, 3 done, 4 failed
    moved_rows      BIGINT           NOT NULL,
    asked_at        BIGINT           NOT NULL,
    switched_at     BIGINT,
    finished_at     BIGINT
);
CREATE INDEX number_moves_of_number ON number_moves (phone_number_id, asked_at);
CREATE INDEX number_moves_open ON number_moves (asked_at) WHERE finished_at IS NULL;
