-- Events on their way to the app. `sealed` is the webhook's body under the queue key; nothing here is readable without it.
CREATE TABLE deliveries (
    id           BLOB    NOT NULL PRIMARY KEY, -- 16 random bytes; the sealing binds it
    sequence     INTEGER NOT NULL UNIQUE,      -- order of arrival
    conversation BLOB    NOT NULL,             -- keyed digest of number and peer
    queued_at    INTEGER NOT NULL,
    attempts     INTEGER NOT NULL,
    due_at       INTEGER,                      -- NULL while an earlier delivery of the conversation stands
    sealed       BLOB    NOT NULL
) STRICT;
CREATE INDEX deliveries_by_conversation ON deliveries (conversation, sequence);
CREATE INDEX deliveries_due ON deliveries (due_at, sequence) WHERE due_at IS NOT NULL;

-- Events that were queued before, as keyed digests: against replays and repeats.
CREATE TABLE seen (
    digest  BLOB    NOT NULL PRIMARY KEY,
    seen_at INTEGER NOT NULL
) STRICT;
CREATE INDEX seen_by_age ON seen (seen_at);

-- What later requests and events need of a message: who sent it (read marks name only the message), or the app's own data for its
-- statuses. Keyed digest of the message to sealed bytes.
CREATE TABLE notes (
    digest  BLOB    NOT NULL PRIMARY KEY,
    kept_at INTEGER NOT NULL,
    sealed  BLOB    NOT NULL
) STRICT;
CREATE INDEX notes_by_age ON notes (kept_at);
