-- tour.lua: one application that uses everything, for tour_test.lua.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text, time, bool, list, map, opt, enum, any = weir.int, weir.text, weir.time, weir.bool, weir.list, weir.map,
  weir.opt, weir.enum, weir.any
local sums = require "tour_sums"

local order = weir.entity "order"
local show = weir.entity("show", { price = int { min = 0 },
  seats = map(text, { state = enum { "free", "held", "sold" }, order = order }) })
weir.entity("order", { show = show, seats = list(text), total = int, status = enum { "held", "paid", "expired" }, note = any })

show:create("announce", { int, list(text) }, function(self, price, seats)
  self.price = price
  for _, name in ipairs(seats) do self.seats:put(name, {}) end
end)
show:on("hold", { order, list(text), returns = int }, function(self, holder, seats)
  for _, name in ipairs(seats) do
    local seat = self.seats:get(name)
    if not seat or seat.state ~= "free" then weir.fail("not_free", name) end
    seat.state, seat.order = "held", holder
  end
  return self.price * #seats
end)
show:on("settle", { list(text), enum { "free", "sold" } }, function(self, seats, state)
  for _, name in ipairs(seats) do self.seats:get(name).state = state end
end)
show:query("free", { returns = list(text) }, function(self)
  local free = {}
  for name, seat in self.seats:scan() do if seat.state == "free" then free[#free + 1] = name end end
  return free
end)
order:create("place", { show, list(text) { min = 1, max = 8 } }, function(self, which, seats)
  self.show, self.seats, self.total = which, seats, which:hold(self, seats)
  self.note = { seats = seats, by = weir.caller().id }
  weir.after("15m", "expire")
  return { total = self.total }
end)
order:on("expire", {}, function(self) self.status = "expired"; self.show:settle(self.seats, "free") end)
order:on("pay", {}, function(self)
  if self.status ~= "held" then weir.fail("not_payable", self.status) end
  self.status = "paid"
  weir.cancel "expire"
  self.show:settle(self.seats, "sold")
end)

local account = weir.entity("account", { balance = int { min = 0 }, heard = int,
  history = map(int, { at = time, amount = int }) })
account:on("add", { int, returns = int }, function(self, amount)
  self.balance = sums.plus(self.balance, amount)
  self.history:append { at = weir.now(), amount = amount }
  return self.balance
end)
account:on("hear", { int }, function(self, n) self.heard = self.heard + n end)
account:on("tell", { list(account), int }, function(self, others, n)
  for _, other in ipairs(others) do weir.send(other, "hear", n) end
end)
account:on("spread", { list(account), int, returns = int }, function(self, others, amount)
  weir.all(others, function(other) return other:add(amount) end)
  self.balance = self.balance - amount * #others
  return self.balance
end)
account:on("swallow", { account }, function(self, other)
  self.balance = 77
  while not pcall(function() other:explode() end) do end
end)
account:on("explode", {}, function(self) self.balance = 5; error("boom") end)
account:on("spin", {}, function(self) self.balance = 9; while true do end end)
account:on("spin_far", { account }, function(self, other) self.balance = 9; other:spin() end)
account:on("eat", {}, function(self) local t = {}; for i = 1, 1e9 do t[i] = { i } end end)
account:on("ping", { account, int, returns = int }, function(self, other, n)
  if n == 0 then return self.balance end
  self.balance = self.balance + 1
  return other:ping(self, n - 1)
end)
account:on("leave", {}, function(self) weir.delete() end)
account:query("count", { returns = int }, function(self) return self.history:count() end)
account:query("sneak", {}, function(self) self.history:append { amount = 1 } end)

local key = weir.entity("line", { w = int, d = int, n = int { default = 1 } }, { key = "{w}:d" })
key:on("next", { returns = int }, function(self) self.n = self.n + self.w * 100 + self.d; return self.n end)

local desk = weir.service "desk"
desk:on("open", { text, opt(int), returns = bool }, function(self, name, amount)
  if weir.exists(account(name)) then return false end
  account(name):add(amount or 1)
  return true
end)
desk:on("line", { int, int, returns = int }, function(self, w, d) return key(w, d):next() end)
desk:on("whoami", { returns = any, allow = "anyone" }, function() return weir.caller() end)
desk:on("serve", { returns = text, allow = "clerk" }, function() return weir.caller().id end)
desk:on("close", { returns = text }, function() return weir.caller().id end)
