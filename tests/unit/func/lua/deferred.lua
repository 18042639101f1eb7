-- Handlers whose clients are answered by later transactions.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text, bool = weir.int, weir.text, weir.bool

local box  = weir.entity("box", { n = int, open = bool, was = int })
local desk = weir.service "desk"
local bank = weir.outside("bank", { url = "http://bank", give_up = "10m" })

box:on("open", {}, function(self) self.open = true end)
box:on("put", { int, returns = int }, function(self, n) self.n = self.n + n; return self.n end)
box:on("locked", { int, returns = int }, function(self, n)
  if not self.open then weir.fail("shut", n) end
  return n
end)
-- what these send goes to another entity, on another shard or not
box:on("later", { int, returns = int }, function(self, n) return weir.send(box "far", "put", n) end)
box:on("wait", { int }, function(self, n) return weir.send(box "far", "locked", n) end)
box:on("chain", { int, int }, function(self, n, hops)
  if hops == 0 then return weir.send(box "far", "put", n) end
  return weir.send(box("hop" .. hops), "chain", n, hops - 1)
end)
box:on("second", { int, returns = int }, function(self, n)
  local first = weir.send(box "other", "put", n)
  weir.send(box "far", "put", n)
  return first
end)
-- a call hands the ticket on; who drops it has called as ever
box:on("through", { int }, function(self, n) return box("mid"):later(n) end)
box:on("all", { int }, function(self, n)
  return weir.all { function() return box("mid"):later(n) end, function() return box("mid2"):second(n) end }[2]
end)
box:on("dropped", { int, returns = int }, function(self, n) box("mid"):later(n); return -1 end)
desk:on("go", { int }, function(self, n) return box("mid"):through(n) end)
desk:on("told", { int, returns = int }, function(self, n) return n * 100 end)
box:on("to_desk", { int, returns = int }, function(self, n) return weir.send(desk, "told", n) end)
-- refused
box:on("other_type", { int, returns = text }, function(self, n) self.was = 1; return weir.send(box "far", "put", n) end)
box:on("undeclared", { int, returns = int }, function(self, n) self.was = 1; return weir.send(box "far", "wait", n) end)
local kept = {}
box:on("keep", {}, function(self) rawset(kept, 1, weir.send(self, "put", 0)); self.was = self.was + 1 end)
box:on("stale", {}, function(self) self.was = 100; return kept[1] end)
-- asks
box:on("pay", { int }, function(self, n) return bank:ask("POST /charges", { amount = n }, "charged") end)
box:on("charged", { weir.answer }, function(self, answer) return { status = answer.status, outcome = answer.outcome } end)
box:on("hook", {}, function(self) return bank:ask("POST /hook", {}) end)
box:on("timer", {}, function(self) weir.after("1s", "ring") end)
box:on("ring", {}, function(self) self.was = 7; return weir.send(self, "put", 1) end)
