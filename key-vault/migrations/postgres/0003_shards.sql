-- Which vault holds which shard of the conversations. A shard says nothing of a person: there are 64.

-- Vaults on this database. The beat moves while the process lives; one that stands still for long enough is dead.
CREATE TABLE vaults (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    incarnation BIGINT NOT NULL,
    beat BIGINT NOT NULL
);

-- The token moves on at every change of holder and when a holder starts anew: what was begun under an earlier one is refused.
CREATE TABLE shards (
    shard BIGINT NOT NULL PRIMARY KEY,
    holder TEXT COLLATE "C" NOT NULL, -- empty: nobody's yet
    token BIGINT NOT NULL
);
INSERT INTO shards (shard, holder, token) SELECT numbered, '', 0 FROM generate_series(0, 63) AS numbered;
