-- travel.lua: hotels and flights (DeathStarBench's hotel reservation, with flights as in Beldi), each lookup over all there is.
-- Degrees are whole millionths. A reservation takes a room and a seat, or nothing at all.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text, list, map = weir.int, weir.text, weir.list, weir.map

local NEAR, KM, EARTH = 5, 10, 6371
local geo    = weir.entity("geo", { points = map(int, { lat = int, lon = int }) })
local rate   = weir.entity("rate", { h = int, from = int, to = int, price = int }, { key = "h" })
local advice = weir.entity("advice", { hotels = map(int, { lat = int, lon = int, rate = int, price = int }) })
local user   = weir.entity("user", { password = text })
local hotel  = weir.entity("hotel", { free = int { min = 0 }, guests = map(int, user) })
local flight = weir.entity("flight", { free = int { min = 0 }, guests = map(int, user) })
local order  = weir.entity("order", { hotel = hotel, flight = flight, user = user })
local desk   = weir.service "desk"

geo:on("add", { int, int, int }, function(self, h, lat, lon) self.points:put(h, { lat = lat, lon = lon }) end)
rate:on("set", { int, int, int }, function(self, from, to, price) self.from, self.to, self.price = from, to, price end)
advice:on("add", { int, int, int, int, int }, function(self, h, lat, lon, rate_, price)
  self.hotels:put(h, { lat = lat, lon = lon, rate = rate_, price = price })
end)
user:on("set", { text }, function(self, password) self.password = password end)

local function distance(lat1, lon1, lat2, lon2)
  local y, x = math.rad((lat2 - lat1) / 1e6), math.rad((lon2 - lon1) / 1e6) * math.cos(math.rad((lat1 + lat2) / 2e6))
  return math.sqrt(x * x + y * y) * EARTH
end

-- The nearest ones within 10 km.
geo:query("nearby", { int, int, returns = list(int) }, function(self, lat, lon)
  local found = {}
  for h, p in self.points:scan {} do
    local km = distance(lat, lon, p.lat, p.lon)
    if km <= KM then found[#found + 1] = { h, km } end
  end
  table.sort(found, function(a, b) return a[2] < b[2] or (a[2] == b[2] and a[1] < b[1]) end)
  local near = {}
  for i = 1, math.min(NEAR, #found) do near[i] = found[i][1] end
  return near
end)
rate:query("price_of", { int, int, returns = int }, function(self, from, to)
  return from >= self.from and to <= self.to and self.price or 0
end)

-- Hotel and price of each that has a rate for these days.
desk:query("search", { int, int, int, int, returns = list(int) }, function(_, lat, lon, from, to)
  local found, near = {}, geo("all"):nearby(lat, lon)
  for i = 1, #near do
    local price = rate(near[i]):price_of(from, to)
    if price > 0 then found[#found + 1], found[#found + 2] = near[i], price end
  end
  return found
end)

-- 1: the nearest, 2: with the highest rate, 3: the cheapest; all of them when several are.
advice:query("best", { int { min = 1, max = 3 }, int, int, returns = list(int) }, function(self, kind, lat, lon)
  local best, found = math.huge, {}
  for h, row in self.hotels:scan {} do
    local score = kind == 1 and distance(lat, lon, row.lat, row.lon) or kind == 2 and -row.rate or row.price
    if score < best then best, found = score, {} end
    if score == best then found[#found + 1] = h end
  end
  return found
end)

user:query("login", { text, returns = int }, function(self, password) return self.password == password and 1 or 0 end)

for _, kind in ipairs { hotel, flight } do
  kind:on("stock", { int }, function(self, free) self.free = free end)
  kind:on("reserve", { user }, function(self, guest)
    if self.free == 0 then weir.fail("sold_out", self.key) end
    self.free = self.free - 1
    self.guests:append(guest)
  end)
  kind:query("audit", { returns = list(int) }, function(self) return { self.free, self.guests:count() } end)
end

order:create("reserve", { hotel, flight, user }, function(self, room, seat, guest)
  self.hotel, self.flight, self.user = room, seat, guest
  room:reserve(guest)
  seat:reserve(guest)
end)

order:query("booked", { returns = list(int) }, function(self) return { tonumber(self.hotel.key:sub(2)), tonumber(self.flight.key:sub(2)) } end)
-- What an order has, or nothing when there is no such order.
desk:query("order", { order, returns = list(int) }, function(_, which) return weir.exists(which) and which:booked() or {} end)
