-- events.lua: what bench/events measures: a stream, and one follower of it on 1,000 accounts.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int = weir.int

local account = weir.entity("account", { seen = int, sum = int })
local moved = weir.stream("moved", { account = account, amount = int }, { key = "account", keep = "forever" })
local kept = weir.stream("kept", { account = account, amount = int }, { key = "account", keep = "forever" })

account:follow(moved, { by = "account" }, function(self, e)
  self.seen = self.seen + 1
  self.sum = self.sum + e.amount
end)

-- Ten events of one transaction: what an application emits that does some work for each request.
account:on("move", { int }, function(self, amount)
  for i = 1, 10 do kept:emit { account = self, amount = amount } end
end)

-- Karimov's aggregation, by the time of arrival: what each account moved in windows of 8 s, every 4 s.
local sold = weir.stream("sold", { account = account, amount = int }, { key = "account", keep = "forever" })
weir.window("sums", { from = sold, by = "account", size = "8s", slide = "4s", keep = "forever", total = weir.sum "amount", n = weir.count() })
