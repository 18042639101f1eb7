-- flights.lua: what airports and routes do over a year, one transaction per flight over three entities.
--
-- `make demo` sends 20,000 real flights through it and kills the server in the middle.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text = weir.int, weir.text

local airport = weir.entity("airport", {
  departures = int { min = 0 },
  arrivals   = int { min = 0 },
  delay      = int,                -- minutes, summed over departures; early ones count below zero
  late       = int { min = 0 },    -- departures delayed by more than 15 minutes
})

-- The key has two parts: POST /route/DTW:LAS/flown
local route = weir.entity("route", {
  origin = text, destination = text, flights = int { min = 0 }, delay = int, distance = int { min = 0 },
}, { key = "origin:destination" })

airport:on("departed", { int }, function(self, delay)
  self.departures = self.departures + 1
  self.delay = self.delay + delay
  if delay > 15 then self.late = self.late + 1 end
end)

airport:on("arrived", {}, function(self)
  self.arrivals = self.arrivals + 1
end)

-- One flight: the route, its origin and its destination change together or not at all.
route:on("flown", { int { min = -1440, max = 14400 }, int { min = 1 }, returns = int }, function(self, delay, distance)
  self.flights = self.flights + 1
  self.delay = self.delay + delay
  self.distance = distance
  airport(self.origin):departed(delay)
  airport(self.destination):arrived()
  return self.flights
end)
