-- State blobs in the order of KEYS, until they have more than ARGV[1] bytes together (shared/runtime/ports.py, StateStore.load).
local out, size, limit = {}, 0, tonumber(ARGV[1])
for first = 1, #KEYS, 16 do
  local page = redis.call('MGET', unpack(KEYS, first, math.min(first + 15, #KEYS)))
  for i = 1, #page do
    out[first + i - 1] = page[i]
    if page[i] then
      size = size + #page[i]
      if size > limit then return out end
    end
  end
end
return out
