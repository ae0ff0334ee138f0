-- What changed last, by a count that only grows: replicas read what is newer than what they know.
CREATE TABLE changes (
    kind BIGINT NOT NULL PRIMARY KEY, -- 1 event heads, 2 openings of subscriptions
    last BIGINT NOT NULL
) WITH (fillfactor = 10);
INSERT INTO changes (kind, last) VALUES (1, 0), (2, 0);

ALTER TABLE event_heads ADD COLUMN changed BIGINT NOT NULL DEFAULT 0;
CREATE INDEX event_heads_by_change ON event_heads (changed);

-- The number of the newest opening: whoever has an older one gives way.
ALTER TABLE cursors ADD COLUMN opening BIGINT NOT NULL DEFAULT 0;
CREATE INDEX cursors_by_opening ON cursors (opening);
CREATE INDEX cursors_by_use ON cursors (updated_at);
