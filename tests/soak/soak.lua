-- soak.lua: a bit of everything, at a size that stays. What comes, goes: map rows, messages, timers, events, windows, answers.
-- `ordered` and `odd` count what must never happen; the runner knows every other field from what clients were told.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text, map, time = weir.int, weir.text, weir.map, weir.time

local account = weir.entity("account", { balance = int, n = int,                     -- transfers
  seen = int, total = int, odd = int,                                                -- their events, followed
  counted = int, windowed = int, late = int })                                       -- their windows, followed
local box   = weir.entity("box", { puts = int, asked = int, posted = int, items = map(int, text),
  rung = int, rung_sum = int, rung_squares = int, odd = int, senders = map(text, { last = int, count = int, sum = int }) })
local gate  = weir.entity("gate", { n = int })
local item  = weir.entity("item", { seen = int, price = int })
local tally = weir.entity("tally", { counted = int, total = int, late = int })
local trader = weir.entity("trader", { n = int, met = int, sum = int, squares = int })
local clock = weir.entity("clock", { runs = int, first = int, last = int, odd = int })
local ballast = weir.entity("ballast", { body = text })

local moved  = weir.stream("moved", { account = account, n = int, amount = int }, { key = "account", keep = "1MB" })
local prices = weir.stream("prices", { item = item, price = int }, { key = "item", keep = "latest" })
local ticks  = weir.stream("ticks", { who = text, n = int, at = time }, { key = "who", time = "at", keep = "1MB" })
local bids   = weir.stream("bids", { trader = trader, n = int }, { key = "trader", keep = "1MB" })
local asks   = weir.stream("asks", { trader = trader, n = int, half = int }, { key = "trader", keep = "1MB" })

-- transfers over shards, each with two events
local function move(self, amount)
  self.balance, self.n = self.balance + amount, self.n + 1
  moved:emit { account = self, n = self.n, amount = amount }
end
account:on("take", { int }, function(self, amount) move(self, amount) end)
account:on("transfer", { account, int { min = 1 }, returns = int }, function(self, to, amount)
  move(self, -amount)
  to:take(amount)
  return amount
end)
account:follow(moved, { by = "account" }, function(self, e)
  if e.n ~= self.seen + 1 then self.odd = self.odd + 1 end
  self.seen, self.total = self.seen + 1, self.total + e.amount
end)
local spans = weir.window("spans", { from = moved, by = "account", size = "1s", idle = "500ms", keep = "1MB",
  n = weir.count(), total = weir.sum "amount" })
account:follow(spans, { by = "account" }, function(self, w)
  self.counted, self.windowed = self.counted + w.n, self.windowed + w.total
end)
account:follow(weir.stream "spans_late", { by = "account" }, function(self, e)
  self.counted, self.windowed, self.late = self.counted + 1, self.windowed + e.amount, self.late + 1
end)

-- rows of a map that come and go
box:on("put", { int, text, int, returns = int }, function(self, n, value, keep)
  self.items:put(n, value)
  self.items:remove(n - keep)
  self.puts = self.puts + 1
  return n
end)

-- a message, a timer that rings and one that is always taken back in time
box:on("post", { box, int, returns = int }, function(self, to, n)
  self.posted = self.posted + 1
  weir.send(to, "arrive", self.key, n)
  weir.after("300ms", "ring", n)
  weir.after("10d", "never", n)
  weir.cancel("never", n - 1)
  return n
end)
box:on("arrive", { text, int }, function(self, from, n)
  local s = self.senders:get(from) or { last = 0, count = 0, sum = 0 }
  if n <= s.last then self.odd = self.odd + 1 end
  self.senders:put(from, { last = n, count = s.count + 1, sum = s.sum + n })
end)
box:on("ring", { int }, function(self, n)
  self.rung, self.rung_sum, self.rung_squares = self.rung + 1, self.rung_sum + n, (self.rung_squares + n * n) % 1000000007
end)
box:on("never", { int }, function(self) self.odd = self.odd + 1 end)

-- a deferred answer
gate:on("work", { returns = int }, function(self)
  self.n = self.n + 1
  return self.n
end)
box:on("ask", { gate, returns = int }, function(self, g)
  self.asked = self.asked + 1
  return weir.send(g, "work")
end)

item:follow(prices, { by = "item" }, function(self, e) self.seen, self.price = self.seen + 1, e.price end)

-- windows of event time, with events that come too late
local secs = weir.window("secs", { from = ticks, by = "who", size = "2s", late = "500ms", idle = "1s", keep = "1MB",
  n = weir.count(), total = weir.sum "n" })
tally:follow(secs, { by = "who" }, function(self, w) self.counted, self.total = self.counted + w.n, self.total + w.total end)
tally:follow(weir.stream "secs_late", { by = "who" }, function(self, e)
  self.counted, self.total, self.late = self.counted + 1, self.total + e.n, self.late + 1
end)

-- a join: both sides in one transaction, so each pair meets once
trader:on("trade", { int, returns = int }, function(self, n)
  self.n = self.n + 1
  bids:emit { trader = self, n = n }
  asks:emit { trader = self, n = n, half = 2 * n }
  return n
end)
local pairs_ = weir.join("pairs", { left = bids, right = asks, by = { "trader", "n" }, within = "1s", keep = "1MB" })
trader:follow(pairs_, { by = "trader" }, function(self, e)
  self.met, self.sum, self.squares = self.met + 1, self.sum + e.right.half / 2, (self.squares + e.n * e.n) % 1000000007
end)

-- a schedule: each second once, those of the downtime too
clock:on("tick", { time }, function(self, due)
  if self.runs == 0 then self.first = due
  elseif due ~= self.last + 1000 then self.odd = self.odd + 1 end
  self.runs, self.last = self.runs + 1, due
end)
weir.every("1s", clock "main", "tick", { missed = "all" })

ballast:on("fill", { text }, function(self, body) self.body = body end)
