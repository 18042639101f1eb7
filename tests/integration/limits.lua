-- limits.lua - messages that are handed on and on, timers that set themselves anew. See test_limits.py.
-- SPDX-License-Identifier: MIT
local weir = require "weir"

local runner = weir.entity("runner", { arrived = weir.int })

-- Sends `count` messages that each go around `ring` for `hops` hops.
runner:on("send", { weir.int, weir.list(weir.text), weir.int, allow = "anyone" }, function(self, count, ring, hops)
  for _ = 1, count do weir.send(runner(ring[1]), "hop", ring, hops) end
end)

runner:on("hop", { weir.list(weir.text), weir.int }, function(self, ring, hops)
  if hops == 0 then
    self.arrived = self.arrived + 1
    return
  end
  local at = 1
  for i, key in ipairs(ring) do
    if key == self.key then at = i % #ring + 1 end
  end
  weir.send(runner(ring[at]), "hop", ring, hops - 1)
end)

-- A message to itself, which sends one to each of `to`.
runner:on("split", { weir.list(weir.text), allow = "anyone" }, function(self, to)
  weir.send(self, "fan", to)
end)

runner:on("fan", { weir.list(weir.text) }, function(self, to)
  for _, key in ipairs(to) do weir.send(runner(key), "hop", {}, 0) end
end)

local clock = weir.entity("clock", { ticks = weir.int })

clock:on("every", { weir.int, allow = "anyone" }, function(self, ms)
  self.ticks = self.ticks + 1
  weir.after(ms, "every", ms)
end)
clock:on("later", { weir.int, allow = "anyone" }, function(self, hours) weir.after(hours * 3600000, "end") end)
clock:on("instead", { allow = "anyone" }, function(self)
  weir.cancel "end"
  weir.after(3600000, "other")
end)
clock:on("both", { allow = "anyone" }, function(self)
  weir.cancel "other"
  weir.after(3600000, "end")
  weir.after(3600000, "other")
end)
clock:on("none", { allow = "anyone" }, function(self) weir.cancel "other" end)
clock:on("end", {}, function(self) end)
clock:on("other", {}, function(self) end)
