-- Receipts of what was destroyed, answered to whoever asks until nothing can refer to it any more. The serial is at least the
-- vault's time in milliseconds, so that a restored database gives none twice.
CREATE TABLE receipts (
    serial INTEGER NOT NULL PRIMARY KEY,
    number TEXT, -- of a number's removal
    created_at_ms INTEGER NOT NULL,
    statement BLOB NOT NULL UNIQUE,
    signature BLOB NOT NULL
) STRICT;
CREATE INDEX receipts_by_number ON receipts (number, serial) WHERE number IS NOT NULL;
CREATE INDEX receipts_by_time ON receipts (created_at_ms);
INSERT INTO receipts (serial, created_at_ms, statement, signature)
    SELECT destroyed_at_ms + row_number() OVER (ORDER BY destroyed_at_ms, retention_seconds, start_seconds),
           destroyed_at_ms, statement, signature
    FROM destructions WHERE destroyed_at_ms IS NOT NULL;

DROP INDEX destructions_by_collection;
ALTER TABLE destructions DROP COLUMN statement;
ALTER TABLE destructions DROP COLUMN signature;
ALTER TABLE destructions DROP COLUMN collected;
CREATE INDEX destructions_begun ON destructions (retention_seconds, start_seconds) WHERE destroyed_at_ms IS NULL;
CREATE INDEX destructions_by_time ON destructions (destroyed_at_ms);

-- A removed number's keys are gone; its other rows follow, and then its own.
ALTER TABLE numbers ADD COLUMN removed_at_ms INTEGER;
CREATE INDEX numbers_removed ON numbers (number) WHERE removed_at_ms IS NOT NULL;

-- Tags of erased persons end when no record can carry one any more.
CREATE INDEX erased_by_end ON erased (erased_at_ms);
