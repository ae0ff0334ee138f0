-- What still waits when its epoch is about to end is found without walking the epoch.
CREATE INDEX outbound_unsent ON outbound (retention_seconds, epoch_start, lease_until) WHERE status = 1;
