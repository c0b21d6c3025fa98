-- Scores members of a sorted set of a slot as its states say: timers (StateStore.restore_timers), or an index of keys (index_states).
-- KEYS: meta, set. ARGV: token, "all" if those that are there go first, then score and member of each.
local owner = redis.call('HGET', KEYS[1], 'token')
if not owner then return 'gone' end
if owner ~= ARGV[1] then return 'fenced' end
if ARGV[2] == 'all' then redis.call('DEL', KEYS[2]) end
if #ARGV > 2 then redis.call('ZADD', KEYS[2], unpack(ARGV, 3)) end
return 'ok'
