-- shop.lua: items with stock, users with credit, orders that take from both or from neither.
--
--   weir run examples/shop.lua
--   curl localhost:8080/item/pen/price   -d '[3]'
--   curl localhost:8080/item/pen/restock -d '[10]'
--   curl localhost:8080/user/ann/pay_in  -d '[100]'
--   curl localhost:8080/order/o1/checkout -d '["ann", [{"item":"pen","count":2}]]'
--
-- Prices are whole cents. SPDX-License-Identifier: MIT
local weir = require "weir"
local int, list, enum = weir.int, weir.list, weir.enum

local item  = weir.entity("item",  { price = int { min = 0 }, stock = int { min = 0 } })
local user  = weir.entity("user",  { credit = int { min = 0 } })
local order = weir.entity("order", { buyer = user, total = int, status = enum { "new", "paid", "delivered" } })

item:on("price", { int { min = 1 } }, function(self, price)
  self.price = price
end)

item:on("restock", { int { min = 1 }, returns = int }, function(self, count)
  self.stock = self.stock + count
  return self.stock
end)

item:on("reserve", { int { min = 1 }, returns = int }, function(self, count)
  if self.stock < count then weir.fail("out_of_stock", self.key) end
  self.stock = self.stock - count
  return self.price * count
end)

user:on("pay_in", { int { min = 1 }, returns = int }, function(self, amount)
  self.credit = self.credit + amount
  return self.credit
end)

user:on("charge", { int }, function(self, amount)
  self.credit = self.credit - amount             -- below 0 breaks `min`: the whole checkout is undone
end)

-- `create` makes the order: a second checkout of the same order fails with `exists`.
order:create("checkout", { user, list { item = item, count = int } { min = 1, max = 20 }, allow = "anyone" },
  function(self, buyer, lines)
    for _, line in ipairs(lines) do
      self.total = self.total + line.item:reserve(line.count)   -- a call: same transaction, any shard
    end
    buyer:charge(self.total)
    self.buyer, self.status = buyer, "paid"
    weir.after("24h", "deliver")                  -- a timer: durable, fires once, also after a restart
    return { total = self.total }
  end)

order:on("deliver", {}, function(self)
  self.status = "delivered"
end)
