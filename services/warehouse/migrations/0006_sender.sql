-- One message id of two people is two messages: the profile counts it for each. A sorting key grows only by columns that come in the same
-- ALTER without a default. The default comes right behind: rows of before get their sender where they are read, and none of them are
-- written again. In between a row without a sender would keep none, so nothing is written or merged then: an insert is refused, and repeated
-- by its loader. Within a part of before each (…, message_id) is there once, so it is in order by the longer key too.

SYSTEM STOP MERGES rapport.events;

ALTER TABLE rapport.events
    ADD COLUMN IF NOT EXISTS sender String AFTER message_id,
    MODIFY ORDER BY (type, event, day, source_id, message_id, sender),
    ADD CONSTRAINT IF NOT EXISTS sender_is_told CHECK sender != '';

ALTER TABLE rapport.events
    MODIFY COLUMN sender String DEFAULT multiIf(anonymous_id != '', concat('a:', anonymous_id), user_id != '', concat('u:', user_id), profile_id) COMMENT 'the typed id under which the resolver drops copies; of an event that came under a mailbox or a number alone, its profile',
    DROP CONSTRAINT IF EXISTS sender_is_told;

SYSTEM START MERGES rapport.events;
