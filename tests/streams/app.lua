-- What the tests of streams over HTTP call.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text, opt, time = weir.int, weir.text, weir.opt, weir.time

local account = weir.entity("account", { balance = int, seen = int, sum = int, broken = weir.bool })
local moved = weir.stream("moved", { account = account, amount = int, at = opt(time), note = opt(text) },
  { key = "account", time = "at", keep = "1d" })
weir.stream("open", { n = int { min = 0 } }, { allow = "anyone" })
weir.stream("clerks", { n = int }, { allow = "clerk" })

account:on("deposit", { int { min = 1 }, returns = int }, function(self, amount)
  self.balance = self.balance + amount
  moved:emit { account = self, amount = amount }
  return self.balance
end)
account:on("mend", {}, function(self) self.broken = false end)
account:on("break", {}, function(self) self.broken = true end)
account:follow(moved, { by = "account" }, function(self, e)
  if self.broken then weir.fail("broken", "this account is broken") end
  self.seen = self.seen + 1
  self.sum = self.sum + e.amount
end)
