-- Forgets a slot: its meta but for the owner, and the keys given (shared/runtime/ports.py, StateStore.forget).
-- KEYS: meta, then what is to go. ARGV: token, generation of the rebuild.
local owner = redis.call('HGET', KEYS[1], 'token')
if not owner then return 'gone' end
if owner ~= ARGV[1] then return 'fenced' end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'token', owner, 'rb', '1', 'g', ARGV[2])
if #KEYS > 1 then redis.call('UNLINK', unpack(KEYS, 2)) end
return 'ok'
