-- A business that cannot decrypt a device's message asks for it again. Rows of device_queue with type 0 are such requests:
-- message_id is the envelope's id, attempt the one that failed, and there is no ciphertext.
ALTER TABLE envelopes ADD COLUMN attempt     INTEGER NOT NULL DEFAULT 0; -- the latest that was handed over
ALTER TABLE envelopes ADD COLUMN retry_asked INTEGER NOT NULL DEFAULT 0; -- 1: the gateway asked for another attempt after this one
ALTER TABLE envelopes ADD COLUMN queue_id    INTEGER NOT NULL DEFAULT 0; -- its place in inbound, while it waits there
