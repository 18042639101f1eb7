-- alarms.lua: timers by the thousand, all due at the same moment, and clients that want something else.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, time = weir.int, weir.time

local box     = weir.entity("box", { rung = int })
local counter = weir.entity("counter", { n = int })

box:on("fill", { int, time }, function(self, count, due)
  for i = 1, count do weir.at(due, "ring", i) end
end)
box:on("ring", { int }, function(self) self.rung = self.rung + 1 end)

counter:on("add", { returns = int }, function(self)
  self.n = self.n + 1
  return self.n
end)
