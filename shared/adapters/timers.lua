-- Sets timers of a slot as they stand in its states (shared/runtime/ports.py, StateStore.restore_timers).
-- KEYS: meta, timers. ARGV: token, "all" if those that are there go first, then due and key of each.
local owner = redis.call('HGET', KEYS[1], 'token')
if not owner then return 'gone' end
if owner ~= ARGV[1] then return 'fenced' end
if ARGV[2] == 'all' then redis.call('DEL', KEYS[2]) end
if #ARGV > 2 then redis.call('ZADD', KEYS[2], unpack(ARGV, 3)) end
return 'ok'
