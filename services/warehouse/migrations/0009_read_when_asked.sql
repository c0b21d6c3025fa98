-- What ClickHouse spends on a row is mostly making columns of it. So the members of a record are read in one pass over its bytes instead of one pass
-- a column, and JSON that is seldom asked for is no column that an insert fills: `context` and `traits` read `raw` when they are asked for (ALIAS), the
-- plain members of a context that questions name are columns of their own. Rows of before keep their columns' values; the new columns
-- read `raw` there too. An insert names its columns, so an older loader fills these tables as before, and each value is the same by either way:
-- a block that was meant before the change and is written behind it makes the same rows.

-- {event} is JSONExtract(raw, 'Tuple(message_id String, source_id String, type String, event String, name String, user_id String, anonymous_id String, group_id String, timestamp Int64, original_timestamp Nullable(Int64), sent_at Nullable(Int64), received_at Int64, properties Tuple(currency String), context Tuple(campaign Tuple(source String, medium String, name String), page Tuple(path String), device Tuple(type String), locale String, timezone String, library Tuple(name String)))')
-- {transition} is JSONExtract(raw, 'Tuple(segment String, transition String, at Int64, decided_at Int64, version UInt64, by_event String, reason String)')
-- {message} is JSONExtract(raw, 'Tuple(dispatch_id String, entry_id String, journey String, step String, channel String, template String, status String, at Int64, reason String, provider String, provider_message_id String, to_masked String)')
-- {profile} is JSONExtract(raw, 'Tuple(version UInt64, at Int64, first_seen Int64, last_seen Int64, events UInt64, orders UInt64, revenue String, currency String, revenues Map(String, String), user_id String, anonymous_ids Array(String), merged_into String)')

-- A column that is no longer filled may have no codec, and to take away one that is not there is an error: so that this can be said twice.
ALTER TABLE rapport.events
    MODIFY COLUMN traits JSON(max_dynamic_paths = 128) DEFAULT JSONExtract(raw, 'traits', 'JSON(max_dynamic_paths = 128)') CODEC(ZSTD(1)),
    MODIFY COLUMN context JSON(max_dynamic_paths = 128) DEFAULT JSONExtract(raw, 'context', 'JSON(max_dynamic_paths = 128)') CODEC(ZSTD(1));

ALTER TABLE rapport.events
    MODIFY COLUMN traits REMOVE CODEC,
    MODIFY COLUMN context REMOVE CODEC,
    MODIFY COLUMN traits JSON(max_dynamic_paths = 128) ALIAS JSONExtract(raw, 'traits', 'JSON(max_dynamic_paths = 128)'),
    MODIFY COLUMN context JSON(max_dynamic_paths = 128) ALIAS JSONExtract(raw, 'context', 'JSON(max_dynamic_paths = 128)'),
    MODIFY COLUMN message_id DEFAULT if({event}.message_id = '' OR startsWith(raw, '['), concat(toString(_partition), ':', toString(_offset)), {event}.message_id),
    MODIFY COLUMN source_id DEFAULT {event}.source_id,
    MODIFY COLUMN type DEFAULT {event}.type,
    MODIFY COLUMN event DEFAULT {event}.event,
    MODIFY COLUMN name DEFAULT {event}.name,
    MODIFY COLUMN user_id DEFAULT {event}.user_id,
    MODIFY COLUMN anonymous_id DEFAULT {event}.anonymous_id,
    MODIFY COLUMN group_id DEFAULT {event}.group_id,
    MODIFY COLUMN timestamp DEFAULT fromUnixTimestamp64Milli(least(greatest({event}.timestamp, -2208988800000), 10413791999999), 'UTC'),
    MODIFY COLUMN received_at DEFAULT fromUnixTimestamp64Milli(least(greatest({event}.received_at, -2208988800000), 10413791999999), 'UTC'),
    MODIFY COLUMN original_timestamp DEFAULT if({event}.original_timestamp IS NULL, NULL, fromUnixTimestamp64Milli(least(greatest(assumeNotNull({event}.original_timestamp), -2208988800000), 10413791999999), 'UTC')),
    MODIFY COLUMN sent_at DEFAULT if({event}.sent_at IS NULL, NULL, fromUnixTimestamp64Milli(least(greatest(assumeNotNull({event}.sent_at), -2208988800000), 10413791999999), 'UTC')),
    MODIFY COLUMN currency DEFAULT {event}.properties.currency,
    ADD COLUMN IF NOT EXISTS utm_source LowCardinality(String) DEFAULT if(left({event}.context.campaign.source, 1) IN ('{', '[') AND isValidJSON({event}.context.campaign.source), '', {event}.context.campaign.source) COMMENT 'context.campaign.source, empty if it is no plain value',
    ADD COLUMN IF NOT EXISTS utm_medium LowCardinality(String) DEFAULT if(left({event}.context.campaign.medium, 1) IN ('{', '[') AND isValidJSON({event}.context.campaign.medium), '', {event}.context.campaign.medium) COMMENT 'context.campaign.medium, empty if it is no plain value',
    ADD COLUMN IF NOT EXISTS utm_campaign LowCardinality(String) DEFAULT if(left({event}.context.campaign.name, 1) IN ('{', '[') AND isValidJSON({event}.context.campaign.name), '', {event}.context.campaign.name) COMMENT 'context.campaign.name, empty if it is no plain value',
    ADD COLUMN IF NOT EXISTS page_path String DEFAULT if(left({event}.context.page.path, 1) IN ('{', '[') AND isValidJSON({event}.context.page.path), '', {event}.context.page.path) COMMENT 'context.page.path, empty if it is no plain value',
    ADD COLUMN IF NOT EXISTS device_type LowCardinality(String) DEFAULT if(left({event}.context.device.type, 1) IN ('{', '[') AND isValidJSON({event}.context.device.type), '', {event}.context.device.type) COMMENT 'context.device.type, empty if it is no plain value',
    ADD COLUMN IF NOT EXISTS locale LowCardinality(String) DEFAULT if(left({event}.context.locale, 1) IN ('{', '[') AND isValidJSON({event}.context.locale), '', {event}.context.locale) COMMENT 'context.locale, empty if it is no plain value',
    ADD COLUMN IF NOT EXISTS time_zone LowCardinality(String) DEFAULT if(left({event}.context.timezone, 1) IN ('{', '[') AND isValidJSON({event}.context.timezone), '', {event}.context.timezone) COMMENT 'context.timezone, empty if it is no plain value',
    ADD COLUMN IF NOT EXISTS library LowCardinality(String) DEFAULT if(left({event}.context.library.name, 1) IN ('{', '[') AND isValidJSON({event}.context.library.name), '', {event}.context.library.name) COMMENT 'context.library.name, empty if it is no plain value';

ALTER TABLE rapport.segment_transitions
    MODIFY COLUMN segment DEFAULT {transition}.segment,
    MODIFY COLUMN transition DEFAULT {transition}.transition,
    MODIFY COLUMN version DEFAULT {transition}.version,
    MODIFY COLUMN by_event DEFAULT {transition}.by_event,
    MODIFY COLUMN reason DEFAULT {transition}.reason,
    MODIFY COLUMN at DEFAULT fromUnixTimestamp64Milli({transition}.at, 'UTC'),
    MODIFY COLUMN decided_at DEFAULT fromUnixTimestamp64Milli({transition}.decided_at, 'UTC');

ALTER TABLE rapport.messages
    MODIFY COLUMN dispatch_id DEFAULT {message}.dispatch_id,
    MODIFY COLUMN entry_id DEFAULT {message}.entry_id,
    MODIFY COLUMN journey DEFAULT {message}.journey,
    MODIFY COLUMN step DEFAULT {message}.step,
    MODIFY COLUMN channel DEFAULT {message}.channel,
    MODIFY COLUMN template DEFAULT {message}.template,
    MODIFY COLUMN status DEFAULT {message}.status,
    MODIFY COLUMN reason DEFAULT {message}.reason,
    MODIFY COLUMN provider DEFAULT {message}.provider,
    MODIFY COLUMN provider_message_id DEFAULT {message}.provider_message_id,
    MODIFY COLUMN to_masked DEFAULT {message}.to_masked,
    MODIFY COLUMN at DEFAULT fromUnixTimestamp64Milli({message}.at, 'UTC');

ALTER TABLE rapport.profiles
    MODIFY COLUMN version DEFAULT {profile}.version,
    MODIFY COLUMN events DEFAULT {profile}.events,
    MODIFY COLUMN orders DEFAULT {profile}.orders,
    MODIFY COLUMN currency DEFAULT {profile}.currency,
    MODIFY COLUMN revenues DEFAULT {profile}.revenues,
    MODIFY COLUMN user_id DEFAULT {profile}.user_id,
    MODIFY COLUMN anonymous_ids DEFAULT {profile}.anonymous_ids,
    MODIFY COLUMN merged_into DEFAULT {profile}.merged_into,
    MODIFY COLUMN at DEFAULT fromUnixTimestamp64Milli({profile}.at, 'UTC'),
    MODIFY COLUMN first_seen DEFAULT fromUnixTimestamp64Milli({profile}.first_seen, 'UTC'),
    MODIFY COLUMN last_seen DEFAULT fromUnixTimestamp64Milli({profile}.last_seen, 'UTC'),
    MODIFY COLUMN revenue DEFAULT toDecimal128OrNull({profile}.revenue, 4),
    MODIFY COLUMN traits JSON(max_dynamic_paths = 256) ALIAS JSONExtract(raw, 'traits', 'JSON(max_dynamic_paths = 256)');
