-- Many small inserts a second: parts stay compact (one file for all columns) until they are large, and wait for company before they are
-- merged. Half of ClickHouse's work at full load was rewriting small wide parts, one file a column (measured; README).

ALTER TABLE rapport.events MODIFY SETTING min_bytes_for_wide_part = 134217728, min_parts_to_merge_at_once = 8;

ALTER TABLE rapport.profiles MODIFY SETTING min_bytes_for_wide_part = 134217728, min_parts_to_merge_at_once = 8;

ALTER TABLE rapport.segment_transitions MODIFY SETTING min_parts_to_merge_at_once = 8;
