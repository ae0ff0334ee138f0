-- The counts and the conversations are kept once for each statement, not once for each of its rows: every row's update would leave
-- another dead version of the same row, and each later one of the transaction would look through all of them.
DROP TRIGGER device_queue_grows ON device_queue;
DROP TRIGGER device_queue_shrinks ON device_queue;
DROP TRIGGER inbound_grows ON inbound;
DROP TRIGGER inbound_shrinks ON inbound;
DROP TRIGGER conversation_begins ON inbound;
DROP TRIGGER conversation_ends ON inbound;

CREATE OR REPLACE FUNCTION device_queue_grow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE devices AS d SET queued = d.queued + n.rows
    FROM (SELECT holder_id, count(*) AS rows FROM fresh GROUP BY holder_id) AS n WHERE d.holder_id = n.holder_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER device_queue_grows AFTER INSERT ON device_queue
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION device_queue_grow();

CREATE OR REPLACE FUNCTION device_queue_shrink() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE devices AS d SET queued = d.queued - n.rows
    FROM (SELECT holder_id, count(*) AS rows FROM gone GROUP BY holder_id) AS n WHERE d.holder_id = n.holder_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER device_queue_shrinks AFTER DELETE ON device_queue
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION device_queue_shrink();

CREATE OR REPLACE FUNCTION inbound_grow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE numbers AS u SET queued = u.queued + n.rows
    FROM (SELECT phone_number_id, count(*) AS rows FROM fresh GROUP BY phone_number_id) AS n
    WHERE u.phone_number_id = n.phone_number_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER inbound_grows AFTER INSERT ON inbound
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION inbound_grow();

CREATE OR REPLACE FUNCTION inbound_shrink() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE numbers AS u SET queued = u.queued - n.rows
    FROM (SELECT phone_number_id, count(*) AS rows FROM gone GROUP BY phone_number_id) AS n
    WHERE u.phone_number_id = n.phone_number_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER inbound_shrinks AFTER DELETE ON inbound
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION inbound_shrink();

CREATE OR REPLACE FUNCTION conversation_begin() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO conversations (phone_number_id, peer, turn)
    SELECT phone_number_id, peer, min(queue_id) FROM fresh GROUP BY phone_number_id, peer
    ON CONFLICT (phone_number_id, peer) DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER conversation_begins AFTER INSERT ON inbound
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION conversation_begin();

CREATE OR REPLACE FUNCTION conversation_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM conversations AS c
    USING (SELECT DISTINCT phone_number_id, peer FROM gone) AS g
    WHERE c.phone_number_id = g.phone_number_id AND c.peer = g.peer
        AND NOT EXISTS (SELECT 1 FROM inbound AS i WHERE i.phone_number_id = g.phone_number_id AND i.peer = g.peer);
    RETURN NULL;
END
$$;
CREATE TRIGGER conversation_ends AFTER DELETE ON inbound
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION conversation_end();
