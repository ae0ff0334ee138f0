-- Outbound records: what businesses sent. `sealed` is last, so that reading the rest skips its overflow pages.
CREATE TABLE outbound (
    phone_number_id   TEXT    NOT NULL,
    message_id        BLOB    NOT NULL,
    tag               BLOB    NOT NULL,
    retention_seconds INTEGER NOT NULL,
    epoch_start       INTEGER NOT NULL, -- seconds
    sequence          INTEGER NOT NULL,
    digest            BLOB    NOT NULL,
    appended_at       INTEGER NOT NULL,
    status            INTEGER NOT NULL, -- 1 accepted, 2 sent, 3 delivered, 4 read, 5 failed
    status_at         INTEGER NOT NULL,
    error_code        INTEGER NOT NULL,
    attempt           INTEGER NOT NULL,
    lease_owner       TEXT    NOT NULL, -- empty: nobody's
    lease_until       INTEGER NOT NULL, -- 0: free
    sealed            BLOB    NOT NULL,
    PRIMARY KEY (phone_number_id, message_id)
) STRICT;
CREATE INDEX outbound_by_epoch ON outbound (retention_seconds, epoch_start);
CREATE INDEX outbound_by_tag ON outbound (phone_number_id, tag);
CREATE INDEX outbound_waiting ON outbound (phone_number_id, tag, sequence) WHERE status = 1;
CREATE INDEX outbound_free ON outbound (lease_until) WHERE status = 1;
CREATE INDEX outbound_leased ON outbound (lease_owner, lease_until) WHERE status = 1;

-- Inbound records: what consumers sent. Two consumers may choose the same message id, so the tag belongs to the key.
CREATE TABLE inbound (
    phone_number_id   TEXT    NOT NULL,
    message_id        BLOB    NOT NULL,
    tag               BLOB    NOT NULL,
    retention_seconds INTEGER NOT NULL,
    epoch_start       INTEGER NOT NULL,
    sequence          INTEGER NOT NULL,
    appended_at       INTEGER NOT NULL,
    sealed            BLOB    NOT NULL,
    PRIMARY KEY (phone_number_id, message_id, tag)
) STRICT;
CREATE INDEX inbound_by_epoch ON inbound (retention_seconds, epoch_start);
-- With the message id it covers the search by person; the planner would else walk all of a number by its key.
CREATE INDEX inbound_by_tag ON inbound (phone_number_id, tag, message_id);

-- Envelopes: every Signal ciphertext that an inbound record was made of.
CREATE TABLE envelopes (
    phone_number_id   TEXT    NOT NULL,
    ciphertext_sha256 BLOB    NOT NULL,
    tag               BLOB    NOT NULL,
    retention_seconds INTEGER NOT NULL,
    epoch_start       INTEGER NOT NULL,
    appended_at       INTEGER NOT NULL,
    PRIMARY KEY (phone_number_id, ciphertext_sha256)
) STRICT, WITHOUT ROWID;
CREATE INDEX envelopes_by_epoch ON envelopes (retention_seconds, epoch_start);
CREATE INDEX envelopes_by_tag ON envelopes (phone_number_id, tag);

-- Events: what a business should learn, by a cursor that grows per number.
CREATE TABLE events (
    phone_number_id   TEXT    NOT NULL,
    cursor            INTEGER NOT NULL,
    kind              INTEGER NOT NULL, -- 1 message, 2 status, 3 identity changed
    direction         INTEGER NOT NULL, -- 1 outbound, 2 inbound: the table of the record
    message_id        BLOB    NOT NULL,
    tag               BLOB    NOT NULL,
    retention_seconds INTEGER NOT NULL,
    epoch_start       INTEGER NOT NULL,
    status            INTEGER NOT NULL, -- 0 unless kind is 2
    error_code        INTEGER NOT NULL,
    happened_at       INTEGER NOT NULL,
    PRIMARY KEY (phone_number_id, cursor)
) STRICT, WITHOUT ROWID;
CREATE INDEX events_by_epoch ON events (retention_seconds, epoch_start);
CREATE INDEX events_by_record ON events (phone_number_id, tag, message_id, direction);

-- The newest cursor that a number ever had: it must not start again when the events are gone.
CREATE TABLE event_heads (
    phone_number_id TEXT    NOT NULL PRIMARY KEY,
    cursor          INTEGER NOT NULL
) STRICT;

-- How far a subscription has acknowledged a number's events.
CREATE TABLE cursors (
    subscription    TEXT    NOT NULL,
    phone_number_id TEXT    NOT NULL,
    cursor          INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    PRIMARY KEY (subscription, phone_number_id)
) STRICT, WITHOUT ROWID;

-- Epochs: their state as the vault last said, and whether the rows of a destroyed one are gone.
CREATE TABLE epochs (
    retention_seconds INTEGER NOT NULL,
    epoch_start       INTEGER NOT NULL,
    state             INTEGER NOT NULL, -- 1 open, 2 closed, 3 destroyed
    state_at          INTEGER NOT NULL,
    rows_gone_at      INTEGER,
    PRIMARY KEY (retention_seconds, epoch_start)
) STRICT, WITHOUT ROWID;
CREATE INDEX epochs_to_purge ON epochs (state_at) WHERE state = 3 AND rows_gone_at IS NULL;
