-- Conversations with something for the gateways: each in the hands of one collector at a time.
CREATE TABLE conversations (
    phone_number_id TEXT COLLATE "C" NOT NULL,
    peer            TEXT COLLATE "C" NOT NULL,  -- '': from the relay itself
    collector       TEXT COLLATE "C",           -- NULL: free
    turn            BIGINT           NOT NULL,  -- the lowest is served first
    PRIMARY KEY (phone_number_id, peer)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX conversations_free ON conversations (turn) WHERE collector IS NULL;
CREATE INDEX conversations_held ON conversations (collector) WHERE collector IS NOT NULL;

-- Gateways that collect: each one's newest stream, and until when it lives unless it says so again.
CREATE TABLE collectors (
    collector   TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    stream      BIGINT           NOT NULL,      -- random
    lease_until BIGINT           NOT NULL
) WITH (fillfactor = 70);

UPDATE inbound SET peer = '' WHERE peer IS NULL;
INSERT INTO conversations (phone_number_id, peer, turn)
    SELECT phone_number_id, peer, min(queue_id) FROM inbound GROUP BY phone_number_id, peer;
CREATE FUNCTION conversation_begin() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO conversations (phone_number_id, peer, turn) VALUES (NEW.phone_number_id, NEW.peer, NEW.queue_id)
    ON CONFLICT (phone_number_id, peer) DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER conversation_begins AFTER INSERT ON inbound FOR EACH ROW EXECUTE FUNCTION conversation_begin();
CREATE FUNCTION conversation_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM conversations WHERE phone_number_id = OLD.phone_number_id AND peer = OLD.peer
        AND NOT EXISTS (SELECT 1 FROM inbound WHERE phone_number_id = OLD.phone_number_id AND peer = OLD.peer);
    RETURN NULL;
END
$$;
CREATE TRIGGER conversation_ends AFTER DELETE ON inbound FOR EACH ROW EXECUTE FUNCTION conversation_end();

-- How long anything of a number lives at most, seconds.
ALTER TABLE numbers ADD COLUMN retention_seconds BIGINT NOT NULL DEFAULT 2592000;

CREATE INDEX device_queue_by_number ON device_queue (phone_number_id);
