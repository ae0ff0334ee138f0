-- One index finds the events of an epoch, and within its epochs those of a person and of a record: that of a person alone was
-- changed at a random place by every event, over all epochs that live.
DROP INDEX events_by_record;
DROP INDEX events_by_epoch;
CREATE INDEX events_by_epoch ON events (retention_seconds, epoch_start, phone_number_id, tag, message_id, direction);

-- Live leases are few: those of one owner are found among all.
DROP INDEX outbound_leased;
DROP INDEX outbound_free;
CREATE INDEX outbound_free ON outbound (lease_until, lease_owner) WHERE status = 1;
