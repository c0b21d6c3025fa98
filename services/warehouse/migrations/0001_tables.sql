-- Every table takes a record's own bytes as `raw`, with where it stood in the log, and makes its columns of them itself. Bytes that are no
-- JSON give empty columns and keep their row. Times are UTC. `raw` is the record byte for byte.

CREATE TABLE rapport.events
(
    raw String CODEC(ZSTD(3)),
    profile_id String,
    revenue Nullable(Decimal(18, 4)) COMMENT 'properties.revenue, else properties.total, exact; NULL if absent or no number',
    _partition UInt16,
    _offset Int64 CODEC(Delta, ZSTD(1)),
    _appended_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'when event.resolved took it',
    _topic LowCardinality(String) DEFAULT 'rapport.event.resolved.v1',
    message_id String DEFAULT if(JSONExtractString(raw, 'message_id') = '', concat(toString(_partition), ':', toString(_offset)), JSONExtractString(raw, 'message_id')),
    source_id LowCardinality(String) DEFAULT JSONExtractString(raw, 'source_id'),
    type LowCardinality(String) DEFAULT JSONExtractString(raw, 'type'),
    event LowCardinality(String) DEFAULT JSONExtractString(raw, 'event'),
    name String DEFAULT JSONExtractString(raw, 'name'),
    user_id String DEFAULT JSONExtractString(raw, 'user_id'),
    anonymous_id String DEFAULT JSONExtractString(raw, 'anonymous_id'),
    group_id String DEFAULT JSONExtractString(raw, 'group_id'),
    timestamp DateTime64(3, 'UTC') DEFAULT fromUnixTimestamp64Milli(least(greatest(JSONExtractInt(raw, 'timestamp'), -2208988800000), 10413791999999), 'UTC') CODEC(Delta, ZSTD(1)),
    original_timestamp Nullable(DateTime64(3, 'UTC')) DEFAULT if(JSONExtract(raw, 'original_timestamp', 'Nullable(Int64)') IS NULL, NULL, fromUnixTimestamp64Milli(least(greatest(JSONExtractInt(raw, 'original_timestamp'), -2208988800000), 10413791999999), 'UTC')) CODEC(ZSTD(1)),
    sent_at Nullable(DateTime64(3, 'UTC')) DEFAULT if(JSONExtract(raw, 'sent_at', 'Nullable(Int64)') IS NULL, NULL, fromUnixTimestamp64Milli(least(greatest(JSONExtractInt(raw, 'sent_at'), -2208988800000), 10413791999999), 'UTC')) CODEC(ZSTD(1)),
    received_at DateTime64(3, 'UTC') DEFAULT fromUnixTimestamp64Milli(least(greatest(JSONExtractInt(raw, 'received_at'), -2208988800000), 10413791999999), 'UTC') CODEC(Delta, ZSTD(1)),
    properties JSON(max_dynamic_paths = 256) DEFAULT JSONExtract(raw, 'properties', 'JSON(max_dynamic_paths = 256)') CODEC(ZSTD(1)),
    traits JSON(max_dynamic_paths = 128) DEFAULT JSONExtract(raw, 'traits', 'JSON(max_dynamic_paths = 128)') CODEC(ZSTD(1)),
    context JSON(max_dynamic_paths = 128) DEFAULT JSONExtract(raw, 'context', 'JSON(max_dynamic_paths = 128)') CODEC(ZSTD(1)),
    currency LowCardinality(String) DEFAULT JSONExtractString(raw, 'properties', 'currency'),
    day Date32 DEFAULT toDate32(ifNull(original_timestamp, received_at)) COMMENT 'the same for every copy of a message: see README',
    INDEX by_profile profile_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_time timestamp TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (type, event, day, source_id, message_id)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE TABLE rapport.merges
(
    raw String CODEC(ZSTD(3)),
    profile_id String,
    _partition UInt16,
    _offset Int64,
    _appended_at DateTime64(3, 'UTC'),
    loser String DEFAULT JSONExtractString(raw, 'loser'),
    winner String DEFAULT JSONExtractString(raw, 'winner'),
    at DateTime64(3, 'UTC') DEFAULT fromUnixTimestamp64Milli(JSONExtractInt(raw, 'at'), 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (loser, winner)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE TABLE rapport.segment_transitions
(
    raw String CODEC(ZSTD(3)),
    profile_id String,
    _partition UInt16,
    _offset Int64,
    _appended_at DateTime64(3, 'UTC'),
    segment LowCardinality(String) DEFAULT JSONExtractString(raw, 'segment'),
    transition LowCardinality(String) DEFAULT JSONExtractString(raw, 'transition'),
    at DateTime64(3, 'UTC') DEFAULT fromUnixTimestamp64Milli(JSONExtractInt(raw, 'at'), 'UTC'),
    decided_at DateTime64(3, 'UTC') DEFAULT fromUnixTimestamp64Milli(JSONExtractInt(raw, 'decided_at'), 'UTC'),
    version UInt32 DEFAULT JSONExtractUInt(raw, 'version'),
    by_event String DEFAULT JSONExtractString(raw, 'by_event'),
    INDEX by_profile profile_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(decided_at)
ORDER BY (segment, decided_at, profile_id, transition, version, at, by_event)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE TABLE rapport.messages
(
    raw String CODEC(ZSTD(3)),
    profile_id String,
    _partition UInt16,
    _offset Int64,
    _appended_at DateTime64(3, 'UTC'),
    dispatch_id String DEFAULT JSONExtractString(raw, 'dispatch_id'),
    entry_id String DEFAULT JSONExtractString(raw, 'entry_id'),
    journey LowCardinality(String) DEFAULT JSONExtractString(raw, 'journey'),
    step LowCardinality(String) DEFAULT JSONExtractString(raw, 'step'),
    channel LowCardinality(String) DEFAULT JSONExtractString(raw, 'channel'),
    template LowCardinality(String) DEFAULT JSONExtractString(raw, 'template'),
    status LowCardinality(String) DEFAULT JSONExtractString(raw, 'status'),
    at DateTime64(3, 'UTC') DEFAULT fromUnixTimestamp64Milli(JSONExtractInt(raw, 'at'), 'UTC'),
    reason LowCardinality(String) DEFAULT JSONExtractString(raw, 'reason'),
    provider LowCardinality(String) DEFAULT JSONExtractString(raw, 'provider'),
    provider_message_id String DEFAULT JSONExtractString(raw, 'provider_message_id'),
    to_masked String DEFAULT JSONExtractString(raw, 'to_masked'),
    INDEX by_profile profile_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
ORDER BY (dispatch_id, at, status, reason)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE TABLE rapport.profiles
(
    raw String CODEC(ZSTD(3)),
    profile_id String,
    _partition UInt16,
    _offset Int64,
    _appended_at DateTime64(3, 'UTC'),
    version UInt64 DEFAULT JSONExtractUInt(raw, 'version'),
    at DateTime64(3, 'UTC') DEFAULT fromUnixTimestamp64Milli(JSONExtractInt(raw, 'at'), 'UTC'),
    first_seen DateTime64(3, 'UTC') DEFAULT fromUnixTimestamp64Milli(JSONExtractInt(raw, 'first_seen'), 'UTC'),
    last_seen DateTime64(3, 'UTC') DEFAULT fromUnixTimestamp64Milli(JSONExtractInt(raw, 'last_seen'), 'UTC'),
    events UInt64 DEFAULT JSONExtractUInt(raw, 'events'),
    orders UInt64 DEFAULT JSONExtractUInt(raw, 'orders'),
    revenue Nullable(Decimal(38, 4)) DEFAULT toDecimal128OrNull(JSONExtractString(raw, 'revenue'), 4),
    currency LowCardinality(String) DEFAULT JSONExtractString(raw, 'currency'),
    revenues Map(String, String) DEFAULT JSONExtract(raw, 'revenues', 'Map(String, String)'),
    user_id String DEFAULT JSONExtractString(raw, 'user_id'),
    anonymous_ids Array(String) DEFAULT JSONExtract(raw, 'anonymous_ids', 'Array(String)'),
    traits JSON(max_dynamic_paths = 256) DEFAULT JSONExtract(raw, 'traits', 'JSON(max_dynamic_paths = 256)'),
    merged_into String DEFAULT JSONExtractString(raw, 'merged_into')
)
ENGINE = ReplacingMergeTree(version)
ORDER BY profile_id
SETTINGS non_replicated_deduplication_window = 10000;

CREATE TABLE rapport.identity_conflicts
(
    raw String CODEC(ZSTD(3)),
    profile_id String,
    _partition UInt16,
    _offset Int64,
    _appended_at DateTime64(3, 'UTC'),
    one String DEFAULT JSONExtractString(raw, 'one'),
    two String DEFAULT JSONExtractString(raw, 'two'),
    why LowCardinality(String) DEFAULT JSONExtractString(raw, 'why'),
    at DateTime64(3, 'UTC') DEFAULT fromUnixTimestamp64Milli(JSONExtractInt(raw, 'at'), 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (one, two, at, why)
SETTINGS non_replicated_deduplication_window = 10000;
