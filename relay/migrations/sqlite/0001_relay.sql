-- Whoever has public keys here: a consumer's device or a business number. Ids are never used twice.
CREATE TABLE holders (
    holder_id               INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    identity_key            BLOB    NOT NULL,
    registration_id         INTEGER NOT NULL,
    signed_prekey_id        INTEGER NOT NULL,
    signed_prekey           BLOB    NOT NULL,
    signed_prekey_signature BLOB    NOT NULL,
    last_resort_id          INTEGER NOT NULL,
    last_resort             BLOB    NOT NULL,
    last_resort_signature   BLOB    NOT NULL
) STRICT;

CREATE TABLE prekeys (
    holder_id  INTEGER NOT NULL REFERENCES holders (holder_id) ON DELETE CASCADE,
    kind       INTEGER NOT NULL,                -- 1 X25519, 2 Kyber-1024
    prekey_id  INTEGER NOT NULL,
    public_key BLOB    NOT NULL,
    signature  BLOB,                            -- Kyber-1024 only
    PRIMARY KEY (holder_id, kind, prekey_id)
) STRICT;

-- Ids of prekeys that were handed out: a repeated upload must not bring them back.
CREATE TABLE spent_prekeys (
    holder_id  INTEGER NOT NULL REFERENCES holders (holder_id) ON DELETE CASCADE,
    kind       INTEGER NOT NULL,
    prekey_id  INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (holder_id, kind, prekey_id)
) STRICT;
CREATE INDEX spent_prekeys_by_expiry ON spent_prekeys (expires_at);

CREATE TABLE devices (
    holder_id     INTEGER NOT NULL PRIMARY KEY REFERENCES holders (holder_id) ON DELETE CASCADE,
    phone_number  TEXT    NOT NULL,
    device_id     INTEGER NOT NULL,
    token_sha256  BLOB    NOT NULL UNIQUE,
    registered_at INTEGER NOT NULL,
    queued        INTEGER NOT NULL DEFAULT 0,   -- rows in device_queue, kept by the triggers below
    UNIQUE (phone_number, device_id)
) STRICT;

CREATE TABLE numbers (
    phone_number_id TEXT    NOT NULL PRIMARY KEY,
    phone_number    TEXT    NOT NULL UNIQUE,    -- the business's own
    display_name    TEXT    NOT NULL,
    holder_id       INTEGER NOT NULL UNIQUE REFERENCES holders (holder_id),
    prekeys_low_at  INTEGER,                    -- when its vault was last asked for more; NULL since an upload
    queued          INTEGER NOT NULL DEFAULT 0  -- rows in inbound, kept by the triggers below
) STRICT;

CREATE TABLE codes (
    phone_number  TEXT    NOT NULL PRIMARY KEY,
    digest        BLOB    NOT NULL,
    attempts_left INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX codes_by_expiry ON codes (expires_at);

-- What waits for a device.
CREATE TABLE device_queue (
    queue_id        INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    holder_id       INTEGER NOT NULL REFERENCES devices (holder_id) ON DELETE CASCADE,
    phone_number_id TEXT    NOT NULL,
    message_id      BLOB    NOT NULL,
    attempt         INTEGER NOT NULL,
    category        INTEGER NOT NULL,
    type            INTEGER NOT NULL,
    ciphertext      BLOB    NOT NULL,
    received_at     INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL
) STRICT;
CREATE INDEX device_queue_by_device ON device_queue (holder_id, queue_id);
CREATE INDEX device_queue_by_expiry ON device_queue (expires_at);
CREATE TRIGGER device_queue_grows AFTER INSERT ON device_queue BEGIN
    UPDATE devices SET queued = queued + 1 WHERE holder_id = NEW.holder_id;
END;
CREATE TRIGGER device_queue_shrinks AFTER DELETE ON device_queue BEGIN
    UPDATE devices SET queued = queued - 1 WHERE holder_id = OLD.holder_id;
END;

-- What waits for the gateway: a serialised sealpost.relay.v1.Inbound without its queue_id.
CREATE TABLE inbound (
    queue_id        INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    phone_number_id TEXT    NOT NULL REFERENCES numbers (phone_number_id),
    peer            TEXT,                       -- NULL: from the relay itself
    item            BLOB    NOT NULL,
    expires_at      INTEGER NOT NULL
) STRICT;
CREATE INDEX inbound_by_peer ON inbound (phone_number_id, peer);
CREATE INDEX inbound_by_expiry ON inbound (expires_at);
CREATE TRIGGER inbound_grows AFTER INSERT ON inbound BEGIN
    UPDATE numbers SET queued = queued + 1 WHERE phone_number_id = NEW.phone_number_id;
END;
CREATE TRIGGER inbound_shrinks AFTER DELETE ON inbound BEGIN
    UPDATE numbers SET queued = queued - 1 WHERE phone_number_id = OLD.phone_number_id;
END;

-- What was handed over for devices: repeats are recognised by it, and receipts and retry requests checked against it.
CREATE TABLE submissions (
    phone_number_id TEXT    NOT NULL,
    peer            TEXT    NOT NULL,
    message_id      BLOB    NOT NULL,
    holder_id       INTEGER NOT NULL,
    attempt         INTEGER NOT NULL,
    receipt         INTEGER NOT NULL DEFAULT 0, -- furthest receipt passed on: 1 delivered, 2 read
    retry_asked     INTEGER NOT NULL DEFAULT 0, -- 1: the device asked for another attempt after this one
    expires_at      INTEGER NOT NULL,
    PRIMARY KEY (phone_number_id, peer, message_id, holder_id, attempt)
) STRICT;
CREATE INDEX submissions_by_expiry ON submissions (expires_at);

-- What devices handed over: repeats are recognised by it.
CREATE TABLE envelopes (
    holder_id       INTEGER NOT NULL,
    envelope_id     BLOB    NOT NULL,
    phone_number_id TEXT    NOT NULL,
    peer            TEXT    NOT NULL,
    expires_at      INTEGER NOT NULL,
    PRIMARY KEY (holder_id, envelope_id)
) STRICT;
CREATE INDEX envelopes_by_peer ON envelopes (phone_number_id, peer);
CREATE INDEX envelopes_by_expiry ON envelopes (expires_at);

-- Billing: messages taken from a number, by category and day since the Unix epoch.
CREATE TABLE statistics (
    phone_number_id TEXT    NOT NULL,
    category        INTEGER NOT NULL,
    day             INTEGER NOT NULL,
    messages        INTEGER NOT NULL,
    PRIMARY KEY (phone_number_id, category, day)
) STRICT;
