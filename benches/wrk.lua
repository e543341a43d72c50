-- One script for all runs of wrk. Arguments: what to send, then its details.
--   get
--   header NAME VALUE              GET with one more header
--   post BODY                      a form to the URL's path
--   rooms BODY COUNT               the same to /chat/room0 … in turn
--   statuses BODY                  a form; every answer's status is counted (this slows wrk down)

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

local function form(body)
  wrk.method = "POST"
  wrk.body = body
  wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
end

function init(args)
  local mode = args[1]
  if mode == "header" then
    wrk.headers[args[2]] = args[3]
  elseif mode == "post" then
    form(args[2])
  elseif mode == "statuses" then
    form(args[2])
    statuses = {}
    function response(status)
      local key = tostring(status)
      statuses[key] = (statuses[key] or 0) + 1
    end
  elseif mode == "rooms" then
    form(args[2])
    local count, ready, i = tonumber(args[3]), {}, 0
    for n = 1, count do
      ready[n] = wrk.format(nil, "/chat/room" .. (n - 1))
    end
    function request()
      i = i % count + 1
      return ready[i]
    end
  end
end

function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    "RESULT requests=%d duration_us=%d bytes=%d p50_us=%d p99_us=%d connect=%d read=%d write=%d status=%d timeout=%d\n",
    summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
    e.connect, e.read, e.write, e.status, e.timeout))
  for _, thread in ipairs(threads) do
    for status, count in pairs(thread:get("statuses") or {}) do
      io.write(string.format("STATUS %s=%d\n", status, count))
    end
  end
end
