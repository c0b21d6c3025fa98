-- What is in, noted beside it: so a copy from before, an emptied folder, a dropped table or partition are noticed (contracts/kept_rows.py).

CREATE TABLE rapport.progress
(
    topic LowCardinality(String),
    partition UInt16,
    generation UInt64 COMMENT 'the rebuild that these rows were loaded by; 0 before any',
    next Int64 COMMENT 'rows of all records below this offset are in',
    target Int64 COMMENT 'where the rebuild ends; 0 if there is none',
    gap Bool COMMENT 'the rebuild began because rows were lost',
    at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(next)
ORDER BY (topic, partition, generation);

CREATE TABLE rapport.kept
(
    table LowCardinality(String),
    part String COMMENT 'partition of the table',
    first UInt64 COMMENT 'number of its oldest block',
    gone Bool DEFAULT false COMMENT 'it was lost, and is being loaded again',
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = ReplacingMergeTree(at)
ORDER BY (table, part);

-- Rows from before there were notes are taken as they are.
INSERT INTO rapport.progress (topic, partition, generation, next, target, gap)
SELECT '*', 0, 0, 1, 0, false FROM (SELECT sum(total_rows) AS held FROM system.tables WHERE database = 'rapport' AND name IN ('events', 'profiles', 'merges')) WHERE held > 0;
