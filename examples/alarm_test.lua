-- alarm_test.lua: run with `weir test examples/alarm_test.lua`.
-- SPDX-License-Identifier: MIT
local t = require "weir.test"
local app = t.app "alarm.lua"
local SECOND, MINUTE = 1000, 60000
local START = 1700000000000 - 1700000000000 % MINUTE

local function read(sensor, celsius, at) t.emit("measured", { sensor = sensor, celsius = celsius, at = START + at }) end

local function alarms(what)
  local out = {}
  t.pass "1s"
  for _, e in ipairs(t.events "alarm") do
    if e.event.what == what then out[#out + 1] = { e.event.sensor.key, (e.event.at - START) / SECOND } end
  end
  return out
end

t.case("one hot reading is no alarm, a hot minute is one", function()
  for i = 0, 5 do read("b1", i == 3 and 100 or 50, i * 10 * SECOND) end
  for i = 6, 20 do read("b1", 90, i * 10 * SECOND) end
  t.finish "measured"
  t.equal(alarms "hot", { { "b1", 110 } })
  t.equal({ t.row(app.sensor "b1").hot, t.row(app.sensor "b1").alarms }, { true, 1 })
end)

t.case("who says nothing for five minutes is silent, as the others' readings show", function()
  read("b1", 50, 0)
  read("b2", 50, 0)
  for i = 1, 6 do read("b2", 50, i * MINUTE) end
  t.equal(alarms "silent", { { "b1", 300 } })
end)

t.case("silence of all is noticed by the clock", function()
  read("b1", 50, 0)
  t.pass "10m"
  t.equal(alarms "silent", { { "b1", 300 } })
end)
