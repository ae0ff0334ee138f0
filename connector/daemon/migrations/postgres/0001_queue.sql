-- Events on their way to the app. `sealed` is the webhook's body under the queue key; nothing here is readable without it.
CREATE TABLE deliveries (
    id           BYTEA  NOT NULL PRIMARY KEY, -- 16 random bytes; the sealing binds it
    sequence     BIGINT NOT NULL UNIQUE,      -- order of arrival
    conversation BYTEA  NOT NULL,             -- keyed digest of number and peer
    queued_at    BIGINT NOT NULL,
    attempts     BIGINT NOT NULL,
    due_at       BIGINT,                      -- NULL while an earlier delivery of the conversation stands
    sealed       BYTEA  NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX deliveries_by_conversation ON deliveries (conversation, sequence);
CREATE INDEX deliveries_due ON deliveries (due_at, sequence) WHERE due_at IS NOT NULL;

-- Events that were queued before, as keyed digests: against replays and repeats.
CREATE TABLE seen (
    digest  BYTEA  NOT NULL PRIMARY KEY,
    seen_at BIGINT NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX seen_by_age ON seen (seen_at);

-- What later requests and events need of a message: who sent it (read marks name only the message), or the app's own data for its
-- statuses. Keyed digest of the message to sealed bytes.
CREATE TABLE notes (
    digest  BYTEA  NOT NULL PRIMARY KEY,
    kept_at BIGINT NOT NULL,
    sealed  BYTEA  NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX notes_by_age ON notes (kept_at);
