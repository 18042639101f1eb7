-- alarm.lua: sensors that run hot, and sensors that fell silent.
--
--   weir run examples/alarm.lua
--   curl localhost:8080/streams/measured -d '{"sensor":"boiler-1","celsius":91,"at":"2026-11-22T12:00:00Z"}'
--   curl localhost:8080/sensor/boiler-1                        # after thirty quiet seconds
--
-- Hot is the mean of a minute, looked at every ten seconds: one wrong reading is no alarm. A session ends when a sensor says
-- nothing for five minutes; that is told when the others' readings, or thirty quiet seconds, show that so much time has passed.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, bool, time, text = weir.int, weir.bool, weir.time, weir.text

local LIMIT = weir.setting("limit", int { default = 80 })

local sensor = weir.entity("sensor", { hot = bool, silent_since = time, alarms = int })
local measured = weir.stream("measured", { sensor = sensor, celsius = int, at = time }, { key = "sensor", time = "at", keep = "30d" })
local alarm = weir.stream("alarm", { sensor = sensor, what = text, at = time }, { key = "sensor", time = "at", keep = "forever" })

local minute = weir.window("minute", { from = measured, by = "sensor", size = "1m", slide = "10s", late = "5s", idle = "30s",
                                       mean = weir.avg "celsius", readings = weir.count() })
local talk = weir.window("talk", { from = measured, by = "sensor", gap = "5m", late = "5s", idle = "30s", readings = weir.count() })

sensor:follow(minute, { by = "sensor" }, function(self, w)
  local hot = w.mean > LIMIT
  if hot and not self.hot then
    self.alarms = self.alarms + 1
    alarm:emit { sensor = self, what = "hot", at = w.to }
  end
  self.hot = hot
end)

sensor:follow(talk, { by = "sensor" }, function(self, w)
  self.silent_since = w.to
  alarm:emit { sensor = self, what = "silent", at = w.to }
end)
