-- Deferred answers, to be waited for over both doors. A gate that is shut lets its messages fail.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text, bool = weir.int, weir.text, weir.bool

local gate = weir.entity("gate", { open = bool, n = int })
local box  = weir.entity("box", { asked = int })
local desk = weir.service "desk"

gate:on("set", { bool, allow = "anyone" }, function(self, open) self.open = open end)
gate:on("work", { returns = int }, function(self)
  if not self.open then weir.fail("shut", { gate = self.key }) end
  self.n = self.n + 1
  return self.n                                       -- another for each message: no answer is another's
end)
box:on("ask", { gate, returns = int, allow = "anyone" }, function(self, g)
  self.asked = self.asked + 1
  return weir.send(g, "work")
end)
box:on("relay", { weir.list(text), gate }, function(self, way, g)
  local rest = {}
  for i = 2, #way do rest[i - 1] = way[i] end
  if #way == 0 then return weir.send(g, "work") end
  return weir.send(box(way[1]), "relay", rest, g)
end)
box:on("wrong", { gate, returns = text, allow = "anyone" }, function(self, g)
  self.asked = self.asked + 1
  return weir.send(g, "work")
end)
desk:on("go", { gate, allow = "anyone" }, function(self, g) return box("of the desk"):ask(g) end)
