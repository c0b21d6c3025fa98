-- Takes a place for one message among those a person got (contracts/redis_keys.py, cap_key), or answers 0 if the cap leaves none, and -1 if
-- Redis is not as the dispatcher left it: then places are missing. A message counts from when it was last let go: who was put off and asks
-- again is counted from now on, and who is not let go any more gives its place back.
-- KEYS: the person's messages of one class (sorted set, by ms), the meta of the key's slot.
-- ARGV: dispatch id, raw and as earlier releases wrote it (hexadecimal), now, limit (0: none), window ms, memory ms, field of the meta,
-- what must stand there, what stands there afterwards.
if redis.call('HGET', KEYS[2], ARGV[7]) ~= ARGV[8] then return -1 end
redis.call('HSET', KEYS[2], ARGV[7], ARGV[9])
redis.call('ZREM', KEYS[1], ARGV[1], ARGV[2])
local now, limit = tonumber(ARGV[3]), tonumber(ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[6]))
if limit > 0 and redis.call('ZCOUNT', KEYS[1], '(' .. (now - tonumber(ARGV[5])), '+inf') >= limit then return 0 end
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return 1
