-- orders.lua: an order holds goods for 15 minutes; paid in time it is packed, else the goods go back.
--
--   weir run examples/orders.lua
--   curl localhost:8080/item/pen/restock -d '[10]'
--   curl localhost:8080/order/o1/place   -d '["pen", 2]'
--   curl localhost:8080/order/o1/pay     -d '[]'
--   curl localhost:8080/order/o1
--
-- A depot without boxes cannot pack. The message is tried again, for a minute or so, then parked with its error: seen
-- by a person, who brings boxes (curl localhost:8080/depot/main/boxes -d '[5]') and lets it run again.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, enum = weir.int, weir.enum

local HOLD = weir.setting("hold", weir.text { default = "15m" })

local item  = weir.entity("item",  { stock = int { min = 0 } })
local depot = weir.entity("depot", { boxes = int { min = 0 }, packed = int })
local order = weir.entity("order", { item = item, count = int, packed = int,
                                     status = enum { "open", "paid", "packed", "expired" } })

item:on("restock", { int { min = 1 }, returns = int }, function(self, count)
  self.stock = self.stock + count
  return self.stock
end)

item:on("take", { int }, function(self, count)
  self.stock = self.stock - count                 -- below 0 breaks `min`: the order is not placed
end)

order:create("place", { item, int { min = 1 }, allow = "anyone" }, function(self, what, count)
  what:take(count)
  self.item, self.count = what, count
  weir.after(HOLD, "expire")                      -- a timer: a row, so it outlives restarts
end)

order:on("expire", {}, function(self)
  self.status = "expired"
  self.item:restock(self.count)
end)

order:on("pay", { allow = "anyone" }, function(self)
  if self.status ~= "open" then weir.fail("not_payable", self.status) end
  self.status = "paid"
  weir.cancel "expire"
  weir.send(depot "main", "pack", self)           -- a message: after the commit, once, a transaction of its own
end)

depot:on("boxes", { int { min = 1 }, returns = int }, function(self, count)
  self.boxes = self.boxes + count
  return self.boxes
end)

depot:on("pack", { order }, function(self, which)
  if self.boxes == 0 then weir.fail("no_boxes", which.key) end
  self.boxes, self.packed = self.boxes - 1, self.packed + 1
  which:done()
end)

order:on("done", {}, function(self)
  self.status, self.packed = "packed", self.packed + 1
end)
