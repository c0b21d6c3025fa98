-- What a slot reads page by page where the log is shorter than history (shared/adapters/row_archive.py) is found by when the log took it, and
-- who somebody became by who they were: a page costs what is in it, however many merges and months there are. Views fill these tables from
-- every insert into merges, that of an older loader too.

CREATE TABLE rapport.merges_by_loser
(
    loser String,
    winner String,
    _partition UInt16,
    _offset Int64
)
ENGINE = ReplacingMergeTree
ORDER BY (loser, winner, _partition, _offset)
SETTINGS index_granularity = 128, non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW rapport.merges_to_merges_by_loser TO rapport.merges_by_loser AS
SELECT loser, winner, _partition, _offset FROM rapport.merges;

INSERT INTO rapport.merges_by_loser SELECT loser, winner, _partition, _offset FROM rapport.merges;

CREATE TABLE rapport.merges_by_append
(
    _appended_at DateTime64(3, 'UTC'),
    _partition UInt16,
    _offset Int64,
    loser String,
    winner String
)
ENGINE = ReplacingMergeTree
ORDER BY (_appended_at, _partition, _offset)
SETTINGS index_granularity = 512, non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW rapport.merges_to_merges_by_append TO rapport.merges_by_append AS
SELECT _appended_at, _partition, _offset, loser, winner FROM rapport.merges;

INSERT INTO rapport.merges_by_append SELECT _appended_at, _partition, _offset, loser, winner FROM rapport.merges;

-- Rows lie by the day of what happened, which is mostly the day on which the log took them: of each granule it is noted when that was.
ALTER TABLE rapport.events ADD INDEX IF NOT EXISTS by_append _appended_at TYPE minmax GRANULARITY 1;

ALTER TABLE rapport.events MATERIALIZE INDEX by_append;

ALTER TABLE rapport.segment_transitions ADD INDEX IF NOT EXISTS by_append _appended_at TYPE minmax GRANULARITY 1;

ALTER TABLE rapport.segment_transitions MATERIALIZE INDEX by_append;
