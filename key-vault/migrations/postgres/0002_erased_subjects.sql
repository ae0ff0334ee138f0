-- For a day the vault can still tell which subject a tag was, so that an erasure whose answer was lost can be asked for again.
-- Then subject_id is emptied.
ALTER TABLE erased ADD COLUMN subject_id BYTEA;
CREATE INDEX erased_by_time ON erased (erased_at_ms) WHERE subject_id IS NOT NULL;
