-- market.lua: Online Marketplace (R. Laigner et al., "Online Marketplace: A Benchmark for Data Management in Microservices",
-- PACMMOD 3(1), 2025): carts, products, stock, orders, payments, shipments, customers and sellers, each a service of its own.
--
-- A service is an entity type: it owns its rows, and others reach them only by its handlers. What must be true at the same moment is a
-- call, in one transaction, on whatever shard the other lives: a checkout is all there or not there at all, and the stock never has
-- another version than its product. What others hear of is a message (new prices to carts, parcels to the depot) or an event (the
-- steps of an order to its sellers): after the commit, once, in order.
--
--     cart --reserve--> stock         checkout, one transaction        product --call--> stock         a new version
--       '----> order --pay--> payment                                     '-- messages --> carts       a new price
--                |--confirm--> stock
--                |--prepare--> shipment -- message --> depot --deliver--> shipment --conclude--> order
--                '-- events: invoiced, paid, shipped; from the shipment: delivered --> sellers
--
-- Money is whole cents. Cart, customer, order, payment and shipment of a customer are on one shard, as are product and stock.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, bool, text, enum, list, map = weir.int, weir.bool, weir.text, weir.enum, weir.list, weir.map

local DEPOTS, SELLERS, LOOK = 64, 10, 200     -- depots of the shipment service; sellers of a delivery, and how far it looks for them
local CARD, BOLETO = 1, 2                     -- ways to pay

local line   = { p = int, seller = int, version = int, count = int, price = int, change = int, freight = int, voucher = int }
local parcel = { seller = int, packages = int, amount = int }

local product  = weir.entity("product", { p = int, seller = int, price = int, freight = int, version = int, gone = bool,
  changes = int, carts = map(int, bool) }, { key = "p" })                           -- changes: of the price; carts: that hold it
local stock    = weir.entity("stock", { p = int, version = int, gone = bool, available = int { min = 0 }, reserved = int { min = 0 },
  sold = int }, { key = "p" })
local cart     = weir.entity("cart", { c = int, orders = int, lines = map(int, line) }, { key = "c" })
local order    = weir.entity("order", { c = int, n = int, total = int, parcels = list(parcel),
  status = enum { "invoiced", "paid", "shipped" } }, { key = "{c}:n" })             -- delivered: the order is gone
local payment  = weir.entity("payment", { c = int, n = int, paid = int, lines = list { by = enum { "card", "boleto", "voucher" },
  amount = int } }, { key = "{c}:n" })
local shipment = weir.entity("shipment", { c = int, n = int, packages = int, delivered = int, parcels = list(parcel),
  status = enum { "approved", "concluded" } }, { key = "{c}:n" })
local depot    = weir.entity("depot", { d = int, waiting = map(int, { c = int, n = int, seller = int }) }, { key = "d" })
local customer = weir.entity("customer", { c = int, name = text, orders = int, spent = int, delivered = int }, { key = "c" })
local seller   = weir.entity("seller", { s = int, name = text, open = int, value = int, earned = int, disorder = int,
  entries = map({ int, int }, { step = int, amount = int }) }, { key = "s" })       -- by customer and number: orders that are open

local INVOICED, PAID, SHIPPED, DELIVERED = 1, 2, 3, 4
local steps = weir.stream("steps", { seller = seller, c = int, n = int, step = int, amount = int }, { key = "seller", keep = "1d" })

-- ---- products and their stock ----

stock:on("open", { int }, function(self, count) self.version, self.available = 1, count end)
stock:on("follow", { int, bool }, function(self, version, gone) self.version, self.gone = version, gone end)

product:on("open", { int, int, int, int }, function(self, s, price, freight, count)
  self.seller, self.price, self.freight, self.version = s, price, freight, 1
  stock(self.p):open(count)
end)

-- A new version; what lies in carts is of the old one, and no longer sold. Stock and product change together.
local function renew(self, gone)
  self.version, self.gone = self.version + 1, gone
  stock(self.p):follow(self.version, gone)
  return self.version
end
product:on("replace", { returns = int }, function(self) return renew(self, false) end)
product:on("delete", { returns = int }, function(self) return renew(self, true) end)

-- A new price goes to each cart that holds the product: messages, of which those from here to one cart arrive in order.
product:on("reprice", { int { min = 1 }, returns = list(int) }, function(self, percent)
  self.price, self.changes = self.price + math.ceil(self.price * percent / 100), self.changes + 1
  for c in self.carts:scan {} do weir.send(cart(c), "reprice", self.p, self.price, self.changes) end
  return { self.changes, self.price }
end)

product:on("offer", { int, returns = { seller = int, price = int, freight = int, version = int, change = int } }, function(self, c)
  if self.gone then weir.fail("gone", self.key) end
  self.carts:put(c, true)
  return { seller = self.seller, price = self.price, freight = self.freight, version = self.version, change = self.changes }
end)
product:on("forget", { int }, function(self, c) self.carts:remove(c) end)

-- What is sold out, of an old version or gone is left out of the order.
stock:on("reserve", { int, int, returns = bool }, function(self, version, count)
  if self.gone or version ~= self.version or self.reserved + count > self.available then return false end
  self.reserved = self.reserved + count
  return true
end)
stock:on("confirm", { int }, function(self, count)
  self.reserved, self.available, self.sold = self.reserved - count, self.available - count, self.sold + count
end)

-- ---- carts ----

cart:on("add", { int, int { min = 1, max = 10 }, int { min = 0 }, returns = int }, function(self, p, count, voucher)
  local offer = product(p):offer(self.c)
  self.lines:put(p, { p = p, seller = offer.seller, version = offer.version, count = count, price = offer.price,
    change = offer.change, freight = offer.freight, voucher = voucher })
  return offer.change
end)

-- A price that left before the product came into this cart anew is older than the one here.
cart:on("reprice", { int, int, int }, function(self, p, price, change)
  local held = self.lines:get(p)
  if held and change > held.change then held.price, held.change = price, change end
end)

-- The order's number and what it costs, then product, price, and which of the product's prices that is, of each line. Empty: all was left out.
cart:on("checkout", { int { min = CARD, max = BOLETO }, returns = list(int) }, function(self, pay_by)
  local lines = {}
  for p, held in self.lines:scan {} do
    product(p):forget(self.c)
    if stock(p):reserve(held.version, held.count) then
      lines[#lines + 1] = { p = p, seller = held.seller, version = held.version, count = held.count, price = held.price,
        change = held.change, freight = held.freight, voucher = held.voucher }
    end
  end
  for p in self.lines:scan {} do self.lines:remove(p) end           -- the cart is sealed
  if #lines == 0 then return {} end
  self.orders = self.orders + 1
  local said = { self.orders, order(self.c, self.orders):place(pay_by, lines) }
  for i = 1, #lines do
    local at = 3 * i
    said[at], said[at + 1], said[at + 2] = lines[i].p, lines[i].price, lines[i].change
  end
  return said
end)

-- ---- orders, payments, shipments ----

local function tell(self, step)
  for i = 1, #self.parcels do
    local own = self.parcels[i]
    steps:emit { seller = seller(own.seller), c = self.c, n = self.n, step = step, amount = own.amount }
  end
end

payment:create("pay", { int, int, list(int) }, function(self, by, total, vouchers)
  self.lines = { { by = by == CARD and "card" or "boleto", amount = total } }
  for i = 1, #vouchers do self.lines[i + 1] = { by = "voucher", amount = vouchers[i] } end
  self.paid = total
end)

order:create("place", { int, list(line), returns = int }, function(self, pay_by, lines)
  local parcels, of, vouchers, total = {}, {}, {}, 0
  for i = 1, #lines do
    local l = lines[i]
    local off = math.min(l.voucher, l.count * l.price)
    local amount = l.count * l.price - off
    if off > 0 then vouchers[#vouchers + 1] = off end
    local own = of[l.seller]
    if not own then
      own = { seller = l.seller, packages = 0, amount = 0 }
      of[l.seller], parcels[#parcels + 1] = own, own
    end
    own.packages, own.amount = own.packages + 1, own.amount + amount
    total = total + amount + l.freight
  end
  self.total, self.parcels = total, parcels
  tell(self, INVOICED)

  payment(self.c, self.n):pay(pay_by, total, vouchers)
  for i = 1, #lines do stock(lines[i].p):confirm(lines[i].count) end
  self.status = "paid"
  tell(self, PAID)
  weir.send(customer(self.c), "paid", total)

  shipment(self.c, self.n):prepare(#lines, parcels)
  self.status = "shipped"
  tell(self, SHIPPED)
  return total
end)
order:on("conclude", {}, function() weir.delete() end)

shipment:create("prepare", { int, list(parcel) }, function(self, packages, parcels)
  self.packages, self.parcels = packages, parcels
  weir.send(depot(self.c % DEPOTS), "collect", self.c, self.n, parcels)
end)

shipment:on("delivered", { int }, function(self, s)
  for i = 1, #self.parcels do
    local own = self.parcels[i]
    if own.seller == s then
      self.delivered = self.delivered + own.packages
      weir.send(customer(self.c), "delivered", own.packages)
      steps:emit { seller = seller(s), c = self.c, n = self.n, step = DELIVERED, amount = own.amount }
    end
  end
  if self.delivered == self.packages then
    self.status = "concluded"
    order(self.c, self.n):conclude()
  end
end)

depot:on("collect", { int, int, list(parcel) }, function(self, c, n, parcels)
  for i = 1, #parcels do self.waiting:append { c = c, n = n, seller = parcels[i].seller } end
end)

-- The oldest parcel of each of up to ten sellers: customer, number and seller of what was delivered.
depot:on("deliver", { returns = list(int) }, function(self)
  local seen, found = {}, {}
  for place, own in self.waiting:scan { limit = LOOK } do
    local c, n, s = own.c, own.n, own.seller
    if not seen[s] then
      seen[s] = true
      self.waiting:remove(place)
      shipment(c, n):delivered(s)
      local at = #found
      found[at + 1], found[at + 2], found[at + 3] = c, n, s
      if #found == 3 * SELLERS then break end
    end
  end
  return found
end)

-- ---- who is told ----

customer:on("open", { text }, function(self, name) self.name = name end)
customer:on("paid", { int }, function(self, total) self.orders, self.spent = self.orders + 1, self.spent + total end)
customer:on("delivered", { int }, function(self, packages) self.delivered = self.delivered + packages end)

seller:on("open", { text }, function(self, name) self.name = name end)

-- Each step once, one after another; a step that does not follow the last one is counted: there must be none.
seller:follow(steps, { by = "seller" }, function(self, e)
  local entry = self.entries:get(e.c, e.n)
  if e.step ~= (entry and entry.step or 0) + 1 then
    self.disorder = self.disorder + 1
  elseif e.step == INVOICED then
    self.entries:put(e.c, e.n, { step = INVOICED, amount = e.amount })
    self.open, self.value = self.open + 1, self.value + e.amount
  elseif e.step == DELIVERED then
    self.entries:remove(e.c, e.n)
    self.open, self.value, self.earned = self.open - 1, self.value - e.amount, self.earned + e.amount
  else
    entry.step = e.step
  end
end)

-- How many orders are open and their value, then the amount of each: one handler, one state.
seller:query("dashboard", { returns = list(int) }, function(self)
  local found = { self.open, self.value }
  for _, _, entry in self.entries:scan {} do found[#found + 1] = entry.amount end
  return found
end)

-- ---- what is judged afterwards ----

local desk = weir.service "desk"
local function flag(value) return value and 1 or 0 end

product:query("audit", { returns = list(int) }, function(self)
  return { self.version, flag(self.gone), self.price, self.changes, self.carts:count() }
end)
stock:query("audit", { returns = list(int) }, function(self)
  return { self.version, flag(self.gone), self.available, self.reserved, self.sold }
end)
desk:query("product", { int, returns = list(int) }, function(_, p)      -- both at one moment
  local found, kept = product(p):audit(), stock(p):audit()
  for i = 1, #kept do found[#found + 1] = kept[i] end
  return found
end)

cart:query("audit", { returns = list(int) }, function(self)             -- product, price and change of each line
  local found = {}
  for p, held in self.lines:scan {} do
    local at = #found
    found[at + 1], found[at + 2], found[at + 3] = p, held.price, held.change
  end
  return found
end)
customer:query("audit", { returns = list(int) }, function(self) return { self.orders, self.spent, self.delivered } end)
seller:query("audit", { returns = list(int) }, function(self) return { self.open, self.value, self.earned, self.disorder } end)
depot:query("audit", { returns = list(int) }, function(self) return { self.waiting:count() } end)

order:query("audit", { returns = int }, function(self) return self.total end)
payment:query("audit", { returns = list(int) }, function(self)
  local vouchers = 0
  for i = 2, #self.lines do vouchers = vouchers + self.lines[i].amount end
  return { self.paid, self.lines[1].amount, vouchers }
end)
shipment:query("audit", { returns = list(int) }, function(self) return { self.packages, self.delivered, flag(self.status == "concluded") } end)
-- What the order costs, 0 if it is gone; what was paid, the line for it, vouchers; packages, delivered, concluded.
desk:query("order", { int, int, returns = list(int) }, function(_, c, n)
  local found = { weir.exists(order(c, n)) and order(c, n):audit() or 0 }
  if not weir.exists(payment(c, n)) or not weir.exists(shipment(c, n)) then return found end
  for _, part in ipairs { payment(c, n):audit(), shipment(c, n):audit() } do
    for i = 1, #part do found[#found + 1] = part[i] end
  end
  return found
end)
