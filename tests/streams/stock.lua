-- Events that stock clients produce and consume; the engine follows them, too.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int = weir.int

local account = weir.entity("account", { seen = int, sum = int, last = int, disorder = int })
local moved = weir.stream("moved", { account = account, amount = int }, { key = "account", keep = "forever" })

account:follow(moved, { by = "account" }, function(self, e)
  if e.amount ~= self.last + 1 then self.disorder = self.disorder + 1 end
  self.last = e.amount
  self.seen = self.seen + 1
  self.sum = self.sum + e.amount
end)
