-- tpcc.lua: the five transactions of TPC-C (revision 5.11). Money is whole cents, rates are ten-thousandths.
--
-- All of a warehouse is on one shard. The items are copied for each warehouse, as clause 1.4 allows for what never changes;
-- the lines of an order are a list in its row. Answers are what the driver needs, not whole terminal screens.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text, bool, time, list, map = weir.int, weir.text, weir.bool, weir.time, weir.list, weir.map

local DISTRICTS = 10
local item = weir.entity("item", { w = int, i = int, name = text, price = int, data = text }, { key = "{w}:i" })
local stock = weir.entity("stock", { w = int, i = int, quantity = int, ytd = int, orders = int, remote = int, data = text,
  dists = text }, { key = "{w}:i" })                                -- 24 bytes for each district
local customer = weir.entity("customer", { w = int, d = int, c = int, first = text, last = text, address = text, bad_credit = int,
  discount = int, last_order = int, balance = int, paid = int, payments = int, deliveries = int, data = text,
  history = map(int, { at = time, w = int, d = int, amount = int }) }, { key = "{w}:d:c" })
local warehouse = weir.entity("warehouse", { w = int, name = text, address = text, tax = int, ytd = int }, { key = "{w}" })
local district = weir.entity("district", { w = int, d = int, name = text, address = text, tax = int, ytd = int, next_order = int,
  orders = map(int, { customer = int, entered = time, carrier = int, count = int,
    lines = list { item = int, supply = int, quantity = int, amount = int, delivered = time, info = text } }),
  unsent = map(int, bool),                                          -- the table NEW-ORDER: its first key is the oldest
  by_name = map({ text, text, int }, bool) }, { key = "{w}:d" })    -- last name, first name, customer

-- ---- loading ----

item:create("add", { text, int, text }, function(self, name, price, data)
  self.name, self.price, self.data = name, price, data
end)
stock:on("open", { int, text, text }, function(self, quantity, dists, data)
  self.quantity, self.dists, self.data = quantity, dists, data
end)
warehouse:on("open", { text, text, int, int }, function(self, name, address, tax, ytd)
  self.name, self.address, self.tax, self.ytd = name, address, tax, ytd
end)
district:on("open", { text, text, int, int, int }, function(self, name, address, tax, ytd, next_order)
  self.name, self.address, self.tax, self.ytd, self.next_order = name, address, tax, ytd, next_order
end)
customer:on("open", { text, text, text, text, int, int }, function(self, first, last, address, data, discount, bad_credit)
  self.first, self.last, self.address, self.data, self.discount, self.bad_credit = first, last, address, data, discount, bad_credit
  self.balance, self.paid, self.payments = -1000, 1000, 1
  self.history:append { at = weir.now(), w = self.w, d = self.d, amount = 1000 }
end)
district:on("enroll", { int, text, text, text, text, int, int }, function(self, c, first, last, ...)
  self.by_name:put(last, first, c, true)
  customer(self.w, self.d, c):open(first, last, ...)
end)
-- An order of before: one with a carrier is delivered.
district:on("entered", { int, int, int, list { item = int, amount = int } }, function(self, order, c, carrier, lines)
  local now, bought = weir.now(), {}
  for i = 1, #lines do
    bought[i] = { item = lines[i].item, supply = self.w, quantity = 5, amount = lines[i].amount, delivered = carrier > 0 and now or nil,
      info = ("x"):rep(24) }
  end
  self.orders:put(order, { customer = c, entered = now, carrier = carrier, count = #lines, lines = bought })
  if carrier == 0 then self.unsent:put(order, true) end
  customer(self.w, self.d, c):ordered(order)
end)

-- ---- NewOrder ----

item:query("cost", { returns = int }, function(self) return self.price end)
warehouse:query("rate", { returns = int }, function(self) return self.tax end)
customer:on("ordered", { int, returns = int }, function(self, order)
  self.last_order = order
  return self.discount
end)
stock:on("take", { int, int, int, returns = text }, function(self, home, d, count)
  local left = self.quantity - count
  if left < 10 then left = left + 91 end
  self.quantity, self.ytd, self.orders = left, self.ytd + count, self.orders + 1
  if home ~= self.w then self.remote = self.remote + 1 end
  return self.dists:sub(d * 24 - 23, d * 24)
end)

district:on("new_order", { int, list { item = int, supply = int, quantity = int { min = 1, max = 10 } }, returns = list(int) },
function(self, c, lines)
  local order, sum, bought = self.next_order, 0, {}
  self.next_order = order + 1
  local discount = customer(self.w, self.d, c):ordered(order)
  local tax = self.tax + warehouse(self.w):rate()
  for i = 1, #lines do
    local l = lines[i]
    local amount = l.quantity * item(self.w, l.item):cost()         -- an unknown item is `notfound`: nothing has happened
    local info = stock(l.supply, l.item):take(self.w, self.d, l.quantity)
    bought[i] = { item = l.item, supply = l.supply, quantity = l.quantity, amount = amount, info = info }
    sum = sum + amount
  end
  self.orders:put(order, { customer = c, entered = weir.now(), count = #lines, lines = bought })
  self.unsent:put(order, true)
  return { order, weir.round(sum * (10000 - discount) * (10000 + tax) / 1e8) }
end)

-- ---- Payment ----

-- The middle one of that name, by first name.
local function named(self, last)
  local found = {}
  for _, _, c in self.by_name:scan { from = { last }, to = { last } } do found[#found + 1] = c end
  return found[math.ceil(#found / 2)] or weir.fail("no_such_name", last)
end
district:query("named", { text, returns = int }, named)

warehouse:on("took", { int }, function(self, amount) self.ytd = self.ytd + amount end)
customer:on("pay", { int, int, int, returns = int }, function(self, amount, w, d)
  self.balance, self.paid, self.payments = self.balance - amount, self.paid + amount, self.payments + 1
  self.history:append { at = weir.now(), w = w, d = d, amount = amount }
  if self.bad_credit == 1 then
    self.data = (self.c .. " " .. self.d .. " " .. self.w .. " " .. d .. " " .. w .. " " .. amount .. "|" .. self.data):sub(1, 500)
  end
  return self.balance
end)

-- By customer number, or by last name when that is 0.
district:on("payment", { int { min = 1 }, int, int, int, text, returns = list(int) }, function(self, amount, cw, cd, c, last)
  self.ytd = self.ytd + amount
  warehouse(self.w):took(amount)
  if c == 0 then
    if cw == self.w and cd == self.d then c = named(self, last) else c = district(cw, cd):named(last) end
  end
  return { c, customer(cw, cd, c):pay(amount, self.w, self.d) }
end)

-- ---- Order-Status, Delivery, Stock-Level ----

customer:query("status", { returns = list(int) }, function(self) return { self.balance, self.last_order } end)

-- Customer, balance, order, carrier, and of each line: item, supply, quantity, amount, whether delivered.
district:query("order_status", { int, text, returns = list(int) }, function(self, c, last)
  if c == 0 then c = named(self, last) end
  local status = customer(self.w, self.d, c):status()
  local order = self.orders:get(status[2])
  local found = { c, status[1], status[2], order.carrier }
  for i = 1, #order.lines do
    local l, n = order.lines[i], #found
    found[n + 1], found[n + 2], found[n + 3], found[n + 4], found[n + 5] = l.item, l.supply, l.quantity, l.amount, l.delivered and 1 or 0
  end
  return found
end)

customer:on("delivered", { int }, function(self, amount)
  self.balance, self.deliveries = self.balance + amount, self.deliveries + 1
end)
-- The oldest order that is unsent; 0: there is none.
district:on("deliver", { int, returns = int }, function(self, carrier)
  local o = self.unsent:first()
  if not o then return 0 end
  local order, sum = self.orders:get(o), 0
  self.unsent:remove(o)
  order.carrier = carrier
  for i = 1, #order.lines do
    local l = order.lines[i]
    l.delivered = weir.now()
    sum = sum + l.amount
  end
  customer(self.w, self.d, order.customer):delivered(sum)
  return o
end)
warehouse:on("delivery", { int { min = 1, max = 10 }, returns = list(int) }, function(self, carrier)
  local orders = {}
  for d = 1, DISTRICTS do orders[d] = district(self.w, d):deliver(carrier) end
  return orders
end)

stock:query("left", { returns = int }, function(self) return self.quantity end)
-- Of the items of the last 20 orders: how many are short.
district:query("stock_level", { int, returns = int }, function(self, threshold)
  local seen, short = {}, 0
  for _, order in self.orders:scan { from = self.next_order - 20 } do
    for i = 1, #order.lines do
      local n = order.lines[i].item
      if not seen[n] then
        seen[n] = true
        if stock(self.w, n):left() < threshold then short = short + 1 end
      end
    end
  end
  return short
end)

-- ---- what the conditions of clause 3.3.2 are judged by ----

warehouse:query("audit", { returns = list(int) }, function(self) return { self.ytd } end)
stock:query("audit", { returns = list(int) }, function(self) return { self.quantity, self.ytd, self.orders, self.remote } end)

-- YTD, next order, last order, first and last of the unsent, how many unsent, how many orders.
district:query("audit", { returns = list(int) }, function(self)
  return { self.ytd, self.next_order, self.orders:last() or 0, self.unsent:first() or 0, self.unsent:last() or 0, self.unsent:count(),
    self.orders:count() }
end)

-- Balance, paid, payments, deliveries; and what was paid, by warehouse and district of the payment.
customer:query("audit", { returns = list(int) }, function(self)
  local found, place = { self.balance, self.paid, self.payments, self.deliveries }, {}
  for _, h in self.history:scan {} do
    local k = h.w * DISTRICTS + h.d
    local at = place[k]
    if not at then
      at = #found + 1
      place[k] = at
      found[at], found[at + 1], found[at + 2] = h.w, h.d, 0
    end
    found[at + 2] = found[at + 2] + h.amount
  end
  return found
end)

-- Orders that break condition 5, 6, 7; lines they should have, lines they have; then customer and amount of each one delivered.
district:query("audit_orders", { int, int, returns = list(int) }, function(self, from, to)
  local found = { 0, 0, 0, 0, 0 }
  for o, order in self.orders:scan { from = from, to = to } do
    local lines, dated, sum = #order.lines, 0, 0
    for i = 1, lines do
      sum = sum + order.lines[i].amount
      if order.lines[i].delivered then dated = dated + 1 end
    end
    if (order.carrier == 0) ~= (self.unsent:get(o) == true) then found[1] = found[1] + 1 end
    if order.count ~= lines then found[2] = found[2] + 1 end
    if dated ~= (order.carrier == 0 and 0 or lines) then found[3] = found[3] + 1 end
    found[4], found[5] = found[4] + order.count, found[5] + lines
    if order.carrier ~= 0 then
      found[#found + 1] = order.customer
      found[#found + 1] = sum
    end
  end
  return found
end)
