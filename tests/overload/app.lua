-- app.lua: what the overload tests ask for: cheap and dear handlers, rows of any size, runaways, timers.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text = weir.int, weir.text

local item = weir.entity("item", { n = int, t = text { max = 65000 } })
local clock = weir.entity("clock", { fired = int })

item:on("add", { returns = int }, function(self) self.n = self.n + 1; return self.n end)
item:on("work", { int, returns = int }, function(self, rounds)
  local x = 1
  for i = 1, rounds do x = (x * 31 + i) % 1000003 end
  self.n = self.n + x % 2
  return self.n
end)
item:on("put", { text, returns = int }, function(self, t) self.t = t; return #t end)
item:on("drop", { returns = int }, function(self) weir.delete(); return 1 end)
item:query("value", { returns = int }, function(self) return self.n end)
item:query("big", { int, returns = text }, function(self, bytes) return ("x"):rep(bytes) end)

item:on("loop", {}, function(self) self.n = self.n + 1; while true do end end)
item:on("pcall_loop", {}, function(self)
  self.n = self.n + 1
  while true do pcall(function() while true do end end) end
end)
item:on("bomb", {}, function(self)
  self.n = self.n + 1
  local kept = {}
  while true do kept[#kept + 1] = ("x"):rep(10000) .. #kept end
end)
item:on("pattern", {}, function(self) self.n = self.n + 1; return (("a"):rep(400):find(".-.-.-.-.-b")) end)

-- Timers with equal arguments are one timer, so each carries its number.
clock:on("set", { int, int, int, returns = int }, function(self, first, count, at_ms)
  for i = first, first + count - 1 do weir.at(at_ms, "tick", i) end
  return count
end)
clock:on("tick", { int }, function(self) self.fired = self.fired + 1 end)
clock:query("fired", { returns = int }, function(self) return self.fired end)
