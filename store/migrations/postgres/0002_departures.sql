-- Numbers whose records another store keeps: they take no writes here.
CREATE TABLE departures (
    phone_number_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    departed_at     BIGINT           NOT NULL
);
