-- The vault's first schema. `sealed` columns are AES-256-GCM under keys that are not in this database; their associated
-- data binds table, column, row, number, key version and row version. No column holds a phone number.

-- The vault's own keys, sealed under the root key.
CREATE TABLE vault_keys (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    sealed BYTEA NOT NULL
);

-- A business's numbers. The number's own key is sealed under the root key, everything else under the number's key.
CREATE TABLE numbers (
    number TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    key_version BIGINT NOT NULL,
    sealed_key BYTEA NOT NULL,
    sealed_secrets BYTEA NOT NULL,
    facts_version BIGINT NOT NULL,
    sealed_facts BYTEA NOT NULL,
    hpke_sequence BIGINT NOT NULL,
    one_time_serial BIGINT NOT NULL,
    kem_serial BIGINT NOT NULL
);

-- Keys that connectors wrap content keys to. Rows are deleted at not_after_ms.
CREATE TABLE hpke_keys (
    number TEXT COLLATE "C" NOT NULL REFERENCES numbers (number),
    sequence BIGINT NOT NULL,
    key_id BYTEA NOT NULL,
    not_before_ms BIGINT NOT NULL,
    not_after_ms BIGINT NOT NULL,
    sealed_seed BYTEA NOT NULL,
    PRIMARY KEY (number, sequence),
    UNIQUE (number, key_id)
);
CREATE INDEX hpke_keys_by_end ON hpke_keys (not_after_ms);

CREATE TABLE signed_prekeys (
    number TEXT COLLATE "C" NOT NULL REFERENCES numbers (number),
    id BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    sealed BYTEA NOT NULL,
    PRIMARY KEY (number, id)
);

-- Deleted when used. The serial counts on when ids wrap around.
CREATE TABLE one_time_prekeys (
    number TEXT COLLATE "C" NOT NULL REFERENCES numbers (number),
    id BIGINT NOT NULL,
    serial BIGINT NOT NULL,
    sealed BYTEA NOT NULL,
    PRIMARY KEY (number, id)
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX one_time_prekeys_by_serial ON one_time_prekeys (number, serial);

-- Deleted when used, except the last-resort one, whose uses are marked in kem_used.
CREATE TABLE kem_prekeys (
    number TEXT COLLATE "C" NOT NULL REFERENCES numbers (number),
    id BIGINT NOT NULL,
    serial BIGINT NOT NULL,
    last_resort BIGINT NOT NULL,
    sealed BYTEA NOT NULL,
    PRIMARY KEY (number, id)
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX kem_prekeys_by_serial ON kem_prekeys (number, last_resort, serial);

CREATE TABLE kem_used (
    number TEXT COLLATE "C" NOT NULL REFERENCES numbers (number),
    kem_id BIGINT NOT NULL,
    signed_id BIGINT NOT NULL,
    base_key BYTEA NOT NULL,
    PRIMARY KEY (number, kem_id, signed_id, base_key)
);

-- Consumers of a number: key, pinned identity, counters and known devices are inside `sealed`. The row version guards the
-- subject's sessions too: whoever changes one of them moves it on.
CREATE TABLE subjects (
    number TEXT COLLATE "C" NOT NULL REFERENCES numbers (number),
    subject_id BYTEA NOT NULL,
    tag BYTEA NOT NULL,
    row_version BIGINT NOT NULL,
    sealed BYTEA NOT NULL,
    PRIMARY KEY (number, subject_id),
    UNIQUE (number, tag)
) WITH (autovacuum_vacuum_scale_factor = 0.02);

-- Tags of erased subjects, so that their records answer "erased".
CREATE TABLE erased (
    number TEXT COLLATE "C" NOT NULL REFERENCES numbers (number),
    tag BYTEA NOT NULL,
    erased_at_ms BIGINT NOT NULL,
    PRIMARY KEY (number, tag)
);

CREATE TABLE sessions (
    number TEXT COLLATE "C" NOT NULL,
    subject_id BYTEA NOT NULL,
    device_id BIGINT NOT NULL,
    row_version BIGINT NOT NULL,
    sealed BYTEA NOT NULL,
    PRIMARY KEY (number, subject_id, device_id)
) WITH (autovacuum_vacuum_scale_factor = 0.02);

-- Inbound records that the store has not confirmed. `record` is sealed under its epoch's key like the store's copy.
CREATE TABLE pending (
    ciphertext_sha256 BYTEA NOT NULL PRIMARY KEY,
    number TEXT COLLATE "C" NOT NULL REFERENCES numbers (number),
    tag BYTEA NOT NULL,
    retention_seconds BIGINT NOT NULL,
    start_seconds BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    identity_changed BIGINT NOT NULL,
    record BYTEA NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX pending_by_tag ON pending (number, tag);
CREATE INDEX pending_by_epoch ON pending (retention_seconds, start_seconds);

-- Destructions of epoch keys: begun without a time, finished with one and a receipt.
CREATE TABLE destructions (
    retention_seconds BIGINT NOT NULL,
    start_seconds BIGINT NOT NULL,
    destroyed_at_ms BIGINT,
    statement BYTEA,
    signature BYTEA,
    collected BIGINT NOT NULL,
    PRIMARY KEY (retention_seconds, start_seconds)
);
CREATE INDEX destructions_by_collection ON destructions (collected, destroyed_at_ms);
