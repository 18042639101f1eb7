-- wrong.lua: handlers that misbehave, each after it has changed its row, so that a test sees the change undone.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text, list, enum, opt = weir.int, weir.text, weir.list, weir.enum, weir.opt

local thing = weir.entity("thing", { n = int { min = 0, max = 1000 }, note = text { max = 20 } })
local place = weir.entity("place", { x = int, y = int, n = int }, { key = "x:y" })

thing:on("set", { int, returns = int }, function(self, n) self.n = n; return self.n end)
thing:on("note", { text }, function(self, note) self.note = note end)
thing:on("boom", {}, function(self) self.n = self.n + 1; local nothing; return nothing.field end)
thing:on("loop", {}, function(self) self.n = self.n + 1; while true do end end)
thing:on("pcall_loop", {}, function(self)
  self.n = self.n + 1
  while true do pcall(function() while true do end end) end
end)
thing:on("bomb", {}, function(self)
  self.n = self.n + 1
  local kept = {}
  while true do kept[#kept + 1] = string.rep("x", 10000) .. #kept end
end)
thing:on("big_string", {}, function(self)
  self.n = self.n + 1
  local grown = "x"
  while true do grown = grown .. grown end
end)
thing:on("refuse", { text }, function(self, why) self.n = self.n + 1; weir.fail("not_now", { why = why }) end)
thing:on("refuse_caught", {}, function(self) self.n = self.n + 1; pcall(weir.fail, "not_now"); return 1 end)
thing:on("fails", { text, weir.any }, function(self, word, detail) self.n = self.n + 1; weir.fail(word, detail) end)
thing:on("deep", {}, function(self) self.n = self.n + 1; return self:deep() end)
thing:on("half", {}, function(self) self.n = 1.5 end)
thing:on("both", { thing, int }, function(self, other, n) self.n = self.n + 1; other:set(n) end)
thing:on("many", { list(int) { max = 3 }, enum { "up", "down" }, opt(text), returns = int }, function(self, numbers)
  self.n = #numbers
  return self.n
end)
thing:query("left_out", { int, int { default = 7 }, enum { "up", "down" } { default = "down" }, weir.any, opt(text),
  returns = text }, function(self, a, b, c, d, e) return table.concat({ a, b, c, tostring(d), tostring(e) }, " ") end)
thing:query("count", { int, returns = int }, function(self, n) return n end)
thing:query("moment", { weir.time, returns = weir.time }, function(self, at) return at end)
thing:query("value", { returns = int }, function(self) return self.n end)
thing:query("sneaky", {}, function(self) self.n = self.n + 1 end)
place:on("visit", { returns = int }, function(self) self.n = self.n + 1; return self.n end)
