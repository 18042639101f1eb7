-- What the tests of windows and joins run: purchases and advertisements, as in Karimov et al., ICDE 2018.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text, time = weir.int, weir.text, weir.time

local user = weir.entity("user", { windows = int, spent = int, blocked = weir.bool })
local buys = weir.stream("buys", { user = user, pack = text, price = int, at = time }, { key = "user", time = "at" })
local ads = weir.stream("ads", { user = user, pack = text, campaign = int, at = time }, { key = "user", time = "at" })

local spend = weir.window("spend", { from = buys, by = "user", size = "10s", late = "2s", n = weir.count(), total = weir.sum "price",
  least = weir.min "price", most = weir.max "price", mean = weir.avg "price", opened = weir.first "pack", closed = weir.last "pack",
  packs = weir.distinct "pack", about = weir.distinct("pack", { sketch = true }), best = weir.top(3, "price") })
local hop = weir.window("hop", { from = buys, by = "pack", size = "8s", slide = "4s", late = "1s", n = weir.count(), total = weir.sum "price" })
weir.window("visit", { from = buys, by = "user", gap = "3s", late = "1s", n = weir.count(), total = weir.sum "price" })
weir.window("recent", { from = buys, by = { "user", "pack" }, last = "5s", late = "1s", n = weir.count(), total = weir.sum "price" })
weir.window("everyone", { from = buys, size = "10s", late = "2s", early = true, n = weir.count() })
weir.window("dear", { from = buys, by = "user", size = "10s", late = "2s", where = function(e) return e.price > 500 end,
  path = weir.fold("", function(acc, e) return acc .. e.pack .. ";" end) })
weir.window("amended", { from = buys, by = "user", size = "6s", slide = "3s", late = "1s", correct = "5s", n = weir.count(),
  total = weir.sum "price" })
weir.window("hottest", { from = hop, size = "4s", most = weir.max "total", packs = weir.count() })
local hits = weir.join("hits", { left = ads, right = buys, by = { "user", "pack" }, within = "2s", late = "2s" })
-- Over pairs, by what is in them.
weir.window("campaigns", { from = hits, by = { "left.pack", whose = "left.user" }, size = "10s", spent = weir.sum "right.price",
  dearest = weir.max "right.price", ads = weir.distinct "left.campaign" })
weir.join("slots", { left = ads, right = buys, by = { "user", "pack" }, size = "4s", late = "1s" })
weir.join("cause", { left = buys, right = ads, by = "user", as_of = true, late = "2s" })

-- A window's result starts a transaction.
user:follow(spend, { by = "user" }, function(self, w)
  self.windows, self.spent = self.windows + 1, self.spent + w.total
  if w.total > 12000 then self.blocked = true end
end)
