-- Why somebody entered or left: event, time, definition, merge or expired; empty in rows of before there were reasons.

ALTER TABLE rapport.segment_transitions ADD COLUMN IF NOT EXISTS reason LowCardinality(String) DEFAULT JSONExtractString(raw, 'reason') AFTER by_event;
