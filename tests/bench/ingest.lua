-- wrk's requests for `make bench`: `wrk -s ingest.lua URL -- TEMPLATES BATCH KEY_FILE`.
-- TEMPLATES: one event a line, with three marks <message>, <stamp> and <user>; BATCH: events a request, 1 for single calls.
-- KEY_FILE holds the value of the Authorization header. At the end one line "bench {json}" says what wrk counted.

local lines, pieces, batch, headers = {}, {}, 1, {}
local run, number, offset = "0000", 0, 0
local threads = {}

function setup(thread)
  thread:set("place", #threads)
  table.insert(threads, thread)
end

function init(args)
  batch = tonumber(args[2])
  local key = assert(io.open(args[3])):read("*l")
  headers = { ["Authorization"] = key, ["Content-Type"] = "application/json" }
  for line in io.lines(args[1]) do
    local kind, before, middle, after = line:match("^(%S+) (.-)<message>(.-)<stamp>(.*)$")
    table.insert(lines, { kind, before, middle, after })
  end
  run = string.format("%04x", os.time() % 65536)
end

local function event(stamp)
  number = number + 1
  offset = offset % #lines + 1
  local line = lines[offset]
  local message = string.format("%08x-%s-4000-8%03x-%012d", place, run, batch, number)
  return line[2] .. message .. line[3] .. stamp .. line[4], line[1]
end

function request()
  local stamp = os.date("!%Y-%m-%dT%H:%M:%S.000Z")
  if batch == 1 then
    local body, kind = event(stamp)
    return wrk.format("POST", "/v1/" .. kind, headers, body)
  end
  for n = 1, batch do
    pieces[n] = event(stamp)
  end
  return wrk.format("POST", "/v1/batch", headers, '{"batch":[' .. table.concat(pieces, ",") .. '],"sentAt":"' .. stamp .. '"}')
end

function done(summary, latency)
  local told = '{"requests":%d,"seconds":%.6f,"refused":%d,"broken":%d,"p50_ms":%.3f,"p99_ms":%.3f}'
  local errors = summary.errors
  io.write("bench " .. string.format(told, summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, latency:percentile(50) / 1000, latency:percentile(99) / 1000) .. "\n")
end
