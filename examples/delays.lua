-- delays.lua: how late each airport's flights left, hour by hour, by the time they left and not by when we heard of it.
--
--   weir run examples/delays.lua
--   weir load stream departed departures.ndjson --end      # {"airport":"DTW","delay":66,"at":"2001-01-01T00:47:00Z"} a line
--   weir tail hourly
--   curl localhost:8080/airport/DTW
--
-- Reports may come half an hour out of order. What comes later still is no part of an hour that has been told: it goes to
-- `hourly_late`, where the airport counts it. SPDX-License-Identifier: MIT
local weir = require "weir"
local int, time = weir.int, weir.time

local airport = weir.entity("airport", {
  hours = int,                -- with flights
  worst = int, worst_at = time, -- the most minutes lost in one hour, and which hour that was
  unheard = int,              -- reports that came too late
})
local departed = weir.stream("departed", { airport = airport, delay = int, at = time }, { key = "airport", time = "at", keep = "forever" })

local hourly = weir.window("hourly", { from = departed, by = "airport", size = "1h", late = "30m", keep = "forever",
                                       flights = weir.count(), delay = weir.sum "delay", longest = weir.max "delay" })

airport:follow(hourly, { by = "airport" }, function(self, w)
  self.hours = self.hours + 1
  if self.hours == 1 or w.delay > self.worst then self.worst, self.worst_at = w.delay, w.from end
end)

airport:follow(weir.stream "hourly_late", { by = "airport" }, function(self, e)
  self.unheard = self.unheard + 1
end)
