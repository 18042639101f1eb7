-- What the security tests call: one handler per kind of `allow`.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text, any, map, opt = weir.int, weir.text, weir.any, weir.map, weir.opt

local box = weir.entity("box", { n = int, t = text { max = 60000 }, m = map(int, int) })
local tools = weir.service "tools"

local function seen(self)
  self.n = self.n + 1
  return weir.caller()
end
box:on("open", { allow = "anyone", returns = any }, seen)
box:on("clerks", { allow = "clerk", returns = any }, seen)
box:on("closed", { returns = any }, seen)
box:on("note", { text, allow = "anyone" }, function(self, t) self.t = t end)
box:on("many", { opt(int), opt(int), opt(int), opt(int), opt(int), opt(int), opt(int), opt(int), returns = int },
  function(self, a, b, c, d, e, f, g, h) return h or 0 end)
box:on("through", { box, allow = "clerk", returns = any }, function(self, other) return other:closed() end)
box:on("later", { allow = "clerk" }, function(self) weir.send(self, "closed_later") end)
box:on("closed_later", {}, function(self)
  local caller = weir.caller()
  self.t = "id=" .. caller.id .. " roles=" .. #caller.roles
end)
box:query("look", { returns = int }, function(self) return self.n end)
box:query("peek", { returns = int, allow = "anyone" }, function(self) return self.n end)
tools:on("ask", { allow = "clerk", returns = any }, function() return weir.caller() end)
weir.stream("facts", { n = int })
weir.stream("hints", { n = int }, { allow = "clerk" })
weir.stream("mail", { n = int }, { allow = "anyone" })
