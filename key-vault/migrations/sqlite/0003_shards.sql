-- Which vault holds which shard of the conversations. A shard says nothing of a person: there are 64.

-- Vaults on this database. The beat moves while the process lives; one that stands still for long enough is dead.
CREATE TABLE vaults (
    name TEXT NOT NULL PRIMARY KEY,
    incarnation INTEGER NOT NULL,
    beat INTEGER NOT NULL
) STRICT;

-- The token moves on at every change of holder and when a holder starts anew: what was begun under an earlier one is refused.
CREATE TABLE shards (
    shard INTEGER NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL, -- empty: nobody's yet
    token INTEGER NOT NULL
) STRICT;
INSERT INTO shards (shard, holder, token)
    WITH RECURSIVE numbered (shard) AS (SELECT 0 UNION ALL SELECT shard + 1 FROM numbered WHERE shard < 63)
    SELECT shard, '', 0 FROM numbered;
