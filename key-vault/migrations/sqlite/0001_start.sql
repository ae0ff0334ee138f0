-- The vault's first schema. `sealed` columns are AES-256-GCM under keys that are not in this database; their associated
-- data binds table, column, row, number, key version and row version. No column holds a phone number.

-- The vault's own keys, sealed under the root key.
CREATE TABLE vault_keys (
    name TEXT NOT NULL PRIMARY KEY,
    sealed BLOB NOT NULL
) STRICT;

-- A business's numbers. The number's own key is sealed under the root key, everything else under the number's key.
CREATE TABLE numbers (
    number TEXT NOT NULL PRIMARY KEY,
    key_version INTEGER NOT NULL,
    sealed_key BLOB NOT NULL,
    sealed_secrets BLOB NOT NULL,
    facts_version INTEGER NOT NULL,
    sealed_facts BLOB NOT NULL,
    hpke_sequence INTEGER NOT NULL,
    one_time_serial INTEGER NOT NULL,
    kem_serial INTEGER NOT NULL
) STRICT;

-- Keys that connectors wrap content keys to. Rows are deleted at not_after_ms.
CREATE TABLE hpke_keys (
    number TEXT NOT NULL REFERENCES numbers (number),
    sequence INTEGER NOT NULL,
    key_id BLOB NOT NULL,
    not_before_ms INTEGER NOT NULL,
    not_after_ms INTEGER NOT NULL,
    sealed_seed BLOB NOT NULL,
    PRIMARY KEY (number, sequence),
    UNIQUE (number, key_id)
) STRICT;
CREATE INDEX hpke_keys_by_end ON hpke_keys (not_after_ms);

CREATE TABLE signed_prekeys (
    number TEXT NOT NULL REFERENCES numbers (number),
    id INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (number, id)
) STRICT;

-- Deleted when used. The serial counts on when ids wrap around.
CREATE TABLE one_time_prekeys (
    number TEXT NOT NULL REFERENCES numbers (number),
    id INTEGER NOT NULL,
    serial INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (number, id)
) STRICT;
CREATE INDEX one_time_prekeys_by_serial ON one_time_prekeys (number, serial);

-- Deleted when used, except the last-resort one, whose uses are marked in kem_used.
CREATE TABLE kem_prekeys (
    number TEXT NOT NULL REFERENCES numbers (number),
    id INTEGER NOT NULL,
    serial INTEGER NOT NULL,
    last_resort INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (number, id)
) STRICT;
CREATE INDEX kem_prekeys_by_serial ON kem_prekeys (number, last_resort, serial);

CREATE TABLE kem_used (
    number TEXT NOT NULL REFERENCES numbers (number),
    kem_id INTEGER NOT NULL,
    signed_id INTEGER NOT NULL,
    base_key BLOB NOT NULL,
    PRIMARY KEY (number, kem_id, signed_id, base_key)
) STRICT;

-- Consumers of a number: key, pinned identity, counters and known devices are inside `sealed`. The row version guards the
-- subject's sessions too: whoever changes one of them moves it on.
CREATE TABLE subjects (
    number TEXT NOT NULL REFERENCES numbers (number),
    subject_id BLOB NOT NULL,
    tag BLOB NOT NULL,
    row_version INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (number, subject_id),
    UNIQUE (number, tag)
) STRICT;

-- Tags of erased subjects, so that their records answer "erased".
CREATE TABLE erased (
    number TEXT NOT NULL REFERENCES numbers (number),
    tag BLOB NOT NULL,
    erased_at_ms INTEGER NOT NULL,
    PRIMARY KEY (number, tag)
) STRICT;

CREATE TABLE sessions (
    number TEXT NOT NULL,
    subject_id BLOB NOT NULL,
    device_id INTEGER NOT NULL,
    row_version INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (number, subject_id, device_id)
) STRICT;

-- Inbound records that the store has not confirmed. `record` is sealed under its epoch's key like the store's copy.
CREATE TABLE pending (
    ciphertext_sha256 BLOB NOT NULL PRIMARY KEY,
    number TEXT NOT NULL REFERENCES numbers (number),
    tag BLOB NOT NULL,
    retention_seconds INTEGER NOT NULL,
    start_seconds INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    identity_changed INTEGER NOT NULL,
    record BLOB NOT NULL
) STRICT;
CREATE INDEX pending_by_tag ON pending (number, tag);
CREATE INDEX pending_by_epoch ON pending (retention_seconds, start_seconds);

-- Destructions of epoch keys: begun without a time, finished with one and a receipt.
CREATE TABLE destructions (
    retention_seconds INTEGER NOT NULL,
    start_seconds INTEGER NOT NULL,
    destroyed_at_ms INTEGER,
    statement BLOB,
    signature BLOB,
    collected INTEGER NOT NULL,
    PRIMARY KEY (retention_seconds, start_seconds)
) STRICT;
CREATE INDEX destructions_by_collection ON destructions (collected, destroyed_at_ms);
