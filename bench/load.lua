-- wrk script: sends the requests of a folder in turn and prints one line of JSON at the end.
-- The folder holds N.body files and requests.lua, a table {path=…, headers={…}, bodies={{file=…, headers={…}}, …}}.

local folder = os.getenv("LOAD_FOLDER")
local requests = dofile(folder .. "/requests.lua")
local formatted = {}
local turn = 0

function init()
  for number, body in ipairs(requests.bodies) do
    local file = assert(io.open(folder .. "/" .. body.file, "rb"))
    local headers = {}
    for name, value in pairs(requests.headers) do headers[name] = value end
    for name, value in pairs(body.headers) do headers[name] = value end
    formatted[number] = wrk.format("POST", requests.path, headers, file:read("*all"))
    file:close()
  end
end

function request()
  turn = turn % #formatted + 1
  return formatted[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f, "failed": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
