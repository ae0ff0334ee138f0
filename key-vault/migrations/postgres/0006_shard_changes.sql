-- Counts every change of a holder or a token in `shards`: whoever read the rows at this count need not read them again.
CREATE TABLE shard_changes (
    id    BIGINT NOT NULL PRIMARY KEY, -- 1: the only row
    count BIGINT NOT NULL
);
INSERT INTO shard_changes (id, count) VALUES (1, 0);
