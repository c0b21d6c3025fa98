-- Notes that a slot stands still, or that it does no longer (shared/runtime/ports.py, StateStore.hold).
-- KEYS: meta. ARGV: token, generation or "".
local owner = redis.call('HGET', KEYS[1], 'token')
if not owner then return 'gone' end
if owner ~= ARGV[1] then return 'fenced' end
if ARGV[2] == '' then redis.call('HDEL', KEYS[1], 'hg') else redis.call('HSET', KEYS[1], 'hg', ARGV[2]) end
return 'ok'
