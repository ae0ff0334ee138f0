-- Outbound records: what businesses sent. `sealed` is last, so that reading the rest skips its overflow pages.
CREATE TABLE outbound (
    phone_number_id   TEXT COLLATE "C" NOT NULL,
    message_id        BYTEA            NOT NULL,
    tag               BYTEA            NOT NULL,
    retention_seconds BIGINT           NOT NULL,
    epoch_start       BIGINT           NOT NULL, -- seconds
    sequence          BIGINT           NOT NULL,
    digest            BYTEA            NOT NULL,
    appended_at       BIGINT           NOT NULL,
    status            BIGINT           NOT NULL, -- 1 accepted, 2 sent, 3 delivered, 4 read, 5 failed
    status_at         BIGINT           NOT NULL,
    error_code        BIGINT           NOT NULL,
    attempt           BIGINT           NOT NULL,
    lease_owner       TEXT COLLATE "C" NOT NULL, -- empty: nobody's
    lease_until       BIGINT           NOT NULL, -- 0: free
    sealed            BYTEA            NOT NULL,
    PRIMARY KEY (phone_number_id, message_id)
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX outbound_by_epoch ON outbound (retention_seconds, epoch_start);
CREATE INDEX outbound_by_tag ON outbound (phone_number_id, tag);
CREATE INDEX outbound_waiting ON outbound (phone_number_id, tag, sequence) WHERE status = 1;
CREATE INDEX outbound_free ON outbound (lease_until) WHERE status = 1;
CREATE INDEX outbound_leased ON outbound (lease_owner, lease_until) WHERE status = 1;

-- Inbound records: what consumers sent. Two consumers may choose the same message id, so the tag belongs to the key.
CREATE TABLE inbound (
    phone_number_id   TEXT COLLATE "C" NOT NULL,
    message_id        BYTEA            NOT NULL,
    tag               BYTEA            NOT NULL,
    retention_seconds BIGINT           NOT NULL,
    epoch_start       BIGINT           NOT NULL,
    sequence          BIGINT           NOT NULL,
    appended_at       BIGINT           NOT NULL,
    sealed            BYTEA            NOT NULL,
    PRIMARY KEY (phone_number_id, message_id, tag)
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX inbound_by_epoch ON inbound (retention_seconds, epoch_start);
-- With the message id it covers the search by person; the planner would else walk all of a number by its key.
CREATE INDEX inbound_by_tag ON inbound (phone_number_id, tag, message_id);

-- Envelopes: every Signal ciphertext that an inbound record was made of.
CREATE TABLE envelopes (
    phone_number_id   TEXT COLLATE "C" NOT NULL,
    ciphertext_sha256 BYTEA            NOT NULL,
    tag               BYTEA            NOT NULL,
    retention_seconds BIGINT           NOT NULL,
    epoch_start       BIGINT           NOT NULL,
    appended_at       BIGINT           NOT NULL,
    PRIMARY KEY (phone_number_id, ciphertext_sha256)
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX envelopes_by_epoch ON envelopes (retention_seconds, epoch_start);
CREATE INDEX envelopes_by_tag ON envelopes (phone_number_id, tag);

-- Events: what a business should learn, by a cursor that grows per number.
CREATE TABLE events (
    phone_number_id   TEXT COLLATE "C" NOT NULL,
    cursor            BIGINT           NOT NULL,
    kind              BIGINT           NOT NULL, -- 1 message, 2 status, 3 identity changed
    direction         BIGINT           NOT NULL, -- 1 outbound, 2 inbound: the table of the record
    message_id        BYTEA            NOT NULL,
    tag               BYTEA            NOT NULL,
    retention_seconds BIGINT           NOT NULL,
    epoch_start       BIGINT           NOT NULL,
    status            BIGINT           NOT NULL, -- 0 unless kind is 2
    error_code        BIGINT           NOT NULL,
    happened_at       BIGINT           NOT NULL,
    PRIMARY KEY (phone_number_id, cursor)
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX events_by_epoch ON events (retention_seconds, epoch_start);
CREATE INDEX events_by_record ON events (phone_number_id, tag, message_id, direction);

-- The newest cursor that a number ever had: it must not start again when the events are gone.
CREATE TABLE event_heads (
    phone_number_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    cursor          BIGINT           NOT NULL
);

-- How far a subscription has acknowledged a number's events.
CREATE TABLE cursors (
    subscription    TEXT COLLATE "C" NOT NULL,
    phone_number_id TEXT COLLATE "C" NOT NULL,
    cursor          BIGINT           NOT NULL,
    updated_at      BIGINT           NOT NULL,
    PRIMARY KEY (subscription, phone_number_id)
);

-- Epochs: their state as the vault last said, and whether the rows of a destroyed one are gone.
CREATE TABLE epochs (
    retention_seconds BIGINT NOT NULL,
    epoch_start       BIGINT NOT NULL,
    state             BIGINT NOT NULL, -- 1 open, 2 closed, 3 destroyed
    state_at          BIGINT NOT NULL,
    rows_gone_at      BIGINT,
    PRIMARY KEY (retention_seconds, epoch_start)
);
CREATE INDEX epochs_to_purge ON epochs (state_at) WHERE state = 3 AND rows_gone_at IS NULL;
