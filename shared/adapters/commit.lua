-- Applies one chunk's changes to one slot, or nothing (shared/runtime/ports.py, Commit).
-- KEYS: meta, outbox, timers, then states, index keys, side keys, dropped side keys, states that go, in the order of ARGV.
-- ARGV: token, seq, outbox, side cap, counts (meta, states, timers, indexes, sides, side drops, gone), then the values.
local owner = redis.call('HGET', KEYS[1], 'token')
if not owner then return 'gone' end
if owner ~= ARGV[1] then return 'fenced' end
local seq = tonumber(redis.call('HGET', KEYS[1], 'seq') or '0')
if seq ~= tonumber(ARGV[2]) - 1 then return 'seq ' .. seq end
local kept = redis.call('HGET', KEYS[1], 'kept')  -- <seq>|<timers>|<bytes of outbox>, as the last commit left them
if kept then
  local at, timers = string.match(kept, '^(%d+)|(%d+)|')
  if tonumber(at) == seq and tonumber(timers) ~= redis.call('ZCARD', KEYS[3]) then return 'timers are gone' end
end

local a, k = 12, 4
local fields = 2 * tonumber(ARGV[5])
for first = a, a + fields - 1, 1000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, first, math.min(first + 999, a + fields - 1)))
end
a = a + fields
local left = tonumber(ARGV[6])
while left > 0 do
  local pairs_of = {}
  local n = math.min(left, 500)
  for i = 1, n do
    pairs_of[2 * i - 1], pairs_of[2 * i] = KEYS[k], ARGV[a]
    k, a = k + 1, a + 1
  end
  redis.call('MSET', unpack(pairs_of))
  left = left - n
end
for _ = 1, tonumber(ARGV[7]) do
  if ARGV[a + 1] == '0' then
    redis.call('ZREM', KEYS[3], ARGV[a])
  else
    redis.call('ZADD', KEYS[3], ARGV[a + 1], ARGV[a])
  end
  a = a + 2
end
for _ = 1, tonumber(ARGV[8]) do
  if ARGV[a + 1] == '' then
    redis.call('ZREM', KEYS[k], ARGV[a])
  else
    redis.call('ZADD', KEYS[k], ARGV[a + 1], ARGV[a])
  end
  k, a = k + 1, a + 2
end
local sides = tonumber(ARGV[9])
local drops = tonumber(ARGV[10])
local gone = tonumber(ARGV[11])
for i = 1, drops + gone do
  redis.call('UNLINK', KEYS[k + sides + i - 1])
end
for _ = 1, sides do
  redis.call('ZADD', KEYS[k], ARGV[a], ARGV[a + 1])
  redis.call('ZREMRANGEBYRANK', KEYS[k], 0, -1 - tonumber(ARGV[4]))
  k, a = k + 1, a + 2
end
if ARGV[3] == '' then
  redis.call('DEL', KEYS[2])
else
  redis.call('SET', KEYS[2], ARGV[3])
end
redis.call('HSET', KEYS[1], 'kept', ARGV[2] .. '|' .. redis.call('ZCARD', KEYS[3]) .. '|' .. #ARGV[3])
return 'ok'
