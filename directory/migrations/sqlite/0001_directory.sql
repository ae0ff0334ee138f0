-- Businesses, their numbers and access tokens. Nothing here is about a consumer.
CREATE TABLE businesses (
    business_id        BLOB    NOT NULL PRIMARY KEY, -- UUID, 16 bytes
    name               TEXT    NOT NULL,
    created_at         INTEGER NOT NULL,
    hpke_public_key    BLOB,
    signing_public_key BLOB
) STRICT;

CREATE TABLE numbers (
    phone_number_id     TEXT    NOT NULL PRIMARY KEY,
    phone_number        TEXT    NOT NULL UNIQUE,     -- the business's own
    business_id         BLOB    NOT NULL REFERENCES businesses (business_id),
    region              TEXT    NOT NULL,
    display_name        TEXT    NOT NULL,
    messages_per_second INTEGER NOT NULL,
    created_at          INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX numbers_of_business ON numbers (business_id, phone_number_id);

CREATE TABLE tokens (
    token_id     BLOB    NOT NULL PRIMARY KEY,       -- UUID, 16 bytes
    token_sha256 BLOB    NOT NULL UNIQUE,
    business_id  BLOB    NOT NULL REFERENCES businesses (business_id),
    all_numbers  INTEGER NOT NULL,                   -- 1: also those made later
    scopes       INTEGER NOT NULL,                   -- bit n is scope n
    description  TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,                            -- NULL: never
    revoked_at   INTEGER                             -- NULL: not revoked
) STRICT;

CREATE TABLE token_numbers (
    token_id        BLOB NOT NULL REFERENCES tokens (token_id),
    phone_number_id TEXT NOT NULL REFERENCES numbers (phone_number_id),
    PRIMARY KEY (token_id, phone_number_id)
) STRICT;
