-- delays_test.lua: run with `weir test examples/delays_test.lua`.
-- SPDX-License-Identifier: MIT
local t = require "weir.test"
local app = t.app "delays.lua"
local HOUR, MINUTE = 3600000, 60000
local START = 1700000000000 - 1700000000000 % HOUR

local function left(airport, delay, at) t.emit("departed", { airport = airport, delay = delay, at = START + at }) end

local function told()
  local out = {}
  t.pass "1s"
  for i, e in ipairs(t.events "hourly") do out[i] = { e.event.airport.key, (e.event.from - START) / HOUR, e.event.flights, e.event.delay } end
  table.sort(out, function(a, b) return a[2] < b[2] or (a[2] == b[2] and a[1] < b[1]) end)
  return out
end

t.case("an hour is told once, when half an hour more has passed", function()
  left("DTW", 10, 5 * MINUTE)
  left("DTW", 20, 50 * MINUTE)
  left("LAS", 7, 80 * MINUTE)
  t.equal(told(), {})
  left("LAS", 7, 91 * MINUTE)
  left("LAS", 7, 92 * MINUTE)
  t.equal(told(), { { "DTW", 0, 2, 30 } })
  t.equal({ t.row(app.airport "DTW").hours, t.row(app.airport "DTW").worst }, { 1, 30 })
end)

t.case("reports out of order count, and those that come too late are known", function()
  left("DTW", 10, 85 * MINUTE)
  left("DTW", 5, 20 * MINUTE)           -- 65 minutes late, and its hour is still open
  left("LAS", 1, 95 * MINUTE)
  left("DTW", 99, 30 * MINUTE)          -- its hour has been told
  t.finish "departed"
  t.equal(told(), { { "DTW", 0, 1, 5 }, { "DTW", 1, 1, 10 }, { "LAS", 1, 1, 1 } })
  t.equal(t.row(app.airport "DTW").unheard, 1)
end)
