-- Counts every change of a holder or a token in `shards`: whoever read the rows at this count need not read them again.
CREATE TABLE shard_changes (
    id    INTEGER NOT NULL PRIMARY KEY, -- 1: the only row
    count INTEGER NOT NULL
) STRICT;
INSERT INTO shard_changes (id, count) VALUES (1, 0);
