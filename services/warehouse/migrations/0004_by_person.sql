-- What a page asks for is found by key, however much else there is: a person's ids by who they became, a message by its id, by the people
-- that it was for, by the instant of each of its states. Views fill these tables from every insert into their source, that of an older
-- loader too; repeats are dropped by the loader's token, and what slips through by ReplacingMergeTree.

ALTER TABLE rapport.messages ADD COLUMN IF NOT EXISTS ledger Int64 DEFAULT -1 COMMENT 'which record of the dispatch ledger made it, counted a slot; -1: not known' AFTER raw;

CREATE TABLE rapport.merges_by_winner
(
    winner String,
    loser String
)
ENGINE = ReplacingMergeTree
ORDER BY (winner, loser)
SETTINGS index_granularity = 512, non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW rapport.merges_to_merges_by_winner TO rapport.merges_by_winner AS
SELECT winner, loser FROM rapport.merges;

INSERT INTO rapport.merges_by_winner SELECT winner, loser FROM rapport.merges;

CREATE TABLE rapport.message_latest
(
    dispatch_id String,
    turn UInt64 COMMENT 'of two states of a message the one with the greater turn is the later: its place in the ledger; before those were kept, its instant',
    at DateTime64(3, 'UTC'),
    status LowCardinality(String),
    journey LowCardinality(String),
    step LowCardinality(String),
    profile_id String,
    channel LowCardinality(String),
    template LowCardinality(String),
    reason LowCardinality(String),
    provider LowCardinality(String),
    provider_message_id String,
    to_masked String
)
ENGINE = ReplacingMergeTree(turn)
ORDER BY dispatch_id
SETTINGS index_granularity = 512, non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW rapport.messages_to_message_latest TO rapport.message_latest AS
SELECT dispatch_id, if(ledger < 0, toUInt64(greatest(toUnixTimestamp64Milli(at), 0)), toUInt64(ledger) + 4611686018427387904) AS turn, at, status, journey, step, profile_id, channel, template, reason, provider, provider_message_id, to_masked
FROM rapport.messages;

INSERT INTO rapport.message_latest SELECT dispatch_id, toUInt64(greatest(toUnixTimestamp64Milli(at), 0)), at, status, journey, step, profile_id, channel, template, reason, provider, provider_message_id, to_masked FROM rapport.messages;

CREATE TABLE rapport.message_times
(
    at DateTime64(3, 'UTC'),
    dispatch_id String,
    turn UInt64,
    status LowCardinality(String),
    journey LowCardinality(String)
)
ENGINE = ReplacingMergeTree
ORDER BY (at, dispatch_id, turn)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW rapport.messages_to_message_times TO rapport.message_times AS
SELECT at, dispatch_id, if(ledger < 0, toUInt64(greatest(toUnixTimestamp64Milli(at), 0)), toUInt64(ledger) + 4611686018427387904) AS turn, status, journey
FROM rapport.messages;

INSERT INTO rapport.message_times SELECT at, dispatch_id, toUInt64(greatest(toUnixTimestamp64Milli(at), 0)), status, journey FROM rapport.messages;

CREATE TABLE rapport.message_people
(
    profile_id String,
    dispatch_id String
)
ENGINE = ReplacingMergeTree
ORDER BY (profile_id, dispatch_id)
SETTINGS index_granularity = 512, non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW rapport.messages_to_message_people TO rapport.message_people AS
SELECT profile_id, dispatch_id FROM rapport.messages;

INSERT INTO rapport.message_people SELECT profile_id, dispatch_id FROM rapport.messages;

-- It went along a hundred merges in a row; ClickHouse takes a thousand steps.
CREATE OR REPLACE VIEW rapport.canonical_ids AS
WITH RECURSIVE chain AS
(
    SELECT loser, winner, 1 AS steps FROM rapport.merges
    UNION ALL
    SELECT chain.loser AS loser, further.winner AS winner, chain.steps + 1 AS steps
    FROM chain INNER JOIN rapport.merges AS further ON further.loser = chain.winner
    WHERE chain.steps < 999
)
SELECT loser, argMax(winner, steps) AS canonical FROM chain GROUP BY loser;

-- The dictionary was made anew from all merges within seconds of any: a second of a core for a million. Nothing here asks it; who does so by hand waits.
CREATE OR REPLACE DICTIONARY rapport.canonical (loser String, canonical String)
PRIMARY KEY loser
SOURCE(CLICKHOUSE(
    USER {user} PASSWORD {password} DB 'rapport' TABLE 'canonical_ids'
    INVALIDATE_QUERY 'SELECT count(), max(_appended_at) FROM rapport.merges'
))
LAYOUT(COMPLEX_KEY_HASHED())
LIFETIME(MIN 300 MAX 600);
