-- Streams that Redis clients produce into and consume from.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text, list, enum, opt = weir.int, weir.text, weir.list, weir.enum, weir.opt

local account = weir.entity("account", { seen = int, sum = int })
local moved = weir.stream("moved", { account = account, amount = int }, { key = "account", keep = "1d" })
weir.stream("kinds", {
  t = text, i = int, f = weir.float, b = weir.bool, w = weir.time, e = enum { "red", "green" },
  l = list(int), r = { x = int, y = text }, a = weir.any, o = opt(int),
}, { keep = "forever" })
weir.stream("empty", { n = int })
weir.stream("short", { n = int }, { keep = "1B" })

account:follow(moved, { by = "account" }, function(self, event)
  self.seen = self.seen + 1
  self.sum = self.sum + event.amount
end)
