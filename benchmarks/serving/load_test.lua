-- Posts one text after the other; unless FIXED is set, each is made distinct, so that no answer is in any memory.
local texts, fixed = {}, os.getenv("FIXED")
local threads, pause = 0, tonumber(os.getenv("PAUSE_MS") or "0")

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  for line in io.lines(os.getenv("BODIES")) do texts[#texts + 1] = line end
  count, failed = 0, 0
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
end

function request()
  count = count + 1
  local body = texts[(count + 7919 * number) % #texts + 1]
  if not fixed then
    body = body:gsub("@@", os.getenv("SALT") .. number .. "x" .. count)
  end
  return wrk.format(nil, "/predict", nil, body)
end

function delay()
  return pause > 0 and math.random() * 2 * pause or 0
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\nRESULT {"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "max_ms": %f, "bad": %d, "broken": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
