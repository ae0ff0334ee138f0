-- Businesses, their numbers and access tokens. Nothing here is about a consumer.
CREATE TABLE businesses (
    business_id        BYTEA            NOT NULL PRIMARY KEY, -- UUID, 16 bytes
    name               TEXT COLLATE "C" NOT NULL,
    created_at         BIGINT           NOT NULL,
    hpke_public_key    BYTEA,
    signing_public_key BYTEA
);

CREATE TABLE numbers (
    phone_number_id     TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    phone_number        TEXT COLLATE "C" NOT NULL UNIQUE, -- the business's own
    business_id         BYTEA            NOT NULL REFERENCES businesses (business_id),
    region              TEXT COLLATE "C" NOT NULL,
    display_name        TEXT COLLATE "C" NOT NULL,
    messages_per_second BIGINT           NOT NULL,
    created_at          BIGINT           NOT NULL
);
CREATE UNIQUE INDEX numbers_of_business ON numbers (business_id, phone_number_id);

CREATE TABLE tokens (
    token_id     BYTEA            NOT NULL PRIMARY KEY, -- UUID, 16 bytes
    token_sha256 BYTEA            NOT NULL UNIQUE,
    business_id  BYTEA            NOT NULL REFERENCES businesses (business_id),
    all_numbers  BIGINT           NOT NULL,             -- 1: also those made later
    scopes       BIGINT           NOT NULL,             -- bit n is scope n
    description  TEXT COLLATE "C" NOT NULL,
    created_at   BIGINT           NOT NULL,
    expires_at   BIGINT,                                -- NULL: never
    revoked_at   BIGINT                                 -- NULL: not revoked
);

CREATE TABLE token_numbers (
    token_id        BYTEA            NOT NULL REFERENCES tokens (token_id),
    phone_number_id TEXT COLLATE "C" NOT NULL REFERENCES numbers (phone_number_id),
    PRIMARY KEY (token_id, phone_number_id)
);
