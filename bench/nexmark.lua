-- nexmark.lua: Nexmark's auction site (Tucker, Tufte, Papadimos, Maier, 2002), queries 1, 3, 5, 7, 8 and 12.
--
-- 1 of 50 events is a person, 3 are auctions, 46 are bids. Each query's result is a stream of its name, but the 5th's,
-- which are rows: the hottest auction of each window. SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text, time, bool, map = weir.int, weir.text, weir.time, weir.bool, weir.map

local auction = weir.entity("auction", {})
local person  = weir.entity("person", { known = bool, name = text, city = text, state = text,
                                        waiting = map(text, int) })       -- auctions from before their seller was known
local hot     = weir.entity("hot", { auction = text, bids = int })        -- by the end of its window, in milliseconds

local persons  = weir.stream("persons", { person = person, name = text, city = text, state = text, at = time },
                             { key = "person", time = "at", keep = "forever" })
local auctions = weir.stream("auctions", { auction = auction, person = person, category = int, at = time },
                             { key = "auction", time = "at", keep = "forever" })
local bids     = weir.stream("bids", { auction = auction, bidder = person, price = int, at = time },
                             { key = "auction", time = "at", keep = "forever" })

-- 1: each bid in euros.
local q1 = weir.stream("q1", { auction = auction, bidder = person, price = int, at = time }, { key = "auction", time = "at", keep = "forever" })
-- 12 counts by the time of arrival: a stream without a time of its own.
local arrived = weir.stream("arrived", { bidder = person }, { key = "bidder", keep = "forever" })
auction:follow(bids, { by = "auction" }, function(self, bid)
  q1:emit { auction = self, bidder = bid.bidder, price = math.floor(bid.price * 908 / 1000), at = bid.at }
  arrived:emit { bidder = bid.bidder }
end)

-- 3: who sells in category 10 from Oregon, Idaho or California. A join without a window: both sides are state.
local q3 = weir.stream("q3", { person = person, name = text, city = text, state = text, auction = text }, { key = "person", keep = "forever" })
local near = { OR = true, ID = true, CA = true }
local function offer(self, name)
  if near[self.state] then q3:emit { person = self, name = self.name, city = self.city, state = self.state, auction = name } end
end
person:follow(persons, { by = "person" }, function(self, p)
  self.known, self.name, self.city, self.state = true, p.name, p.city, p.state
  for name in self.waiting:scan {} do offer(self, name); self.waiting:remove(name) end
end)
person:follow(auctions, { by = "person" }, function(self, a)
  if a.category ~= 10 then return end
  if self.known then offer(self, a.auction.key) else self.waiting:put(a.auction.key, 1) end
end)

-- 5: the auction with the most bids of the last ten seconds, every two seconds. Ties go to the lesser name.
local counts = weir.window("counts", { from = bids, by = "auction", size = "10s", slide = "2s", late = "2s", n = weir.count(), keep = "forever" })
hot:on("offer", { text, int }, function(self, name, n)
  if n > self.bids or (n == self.bids and name < self.auction) then self.auction, self.bids = name, n end
end)
auction:follow(counts, { by = "auction" }, function(self, w) hot(tostring(w.to)):offer(self.key, w.n) end)

-- 7: the highest bid of each ten seconds.
weir.window("q7", { from = bids, size = "10s", late = "2s", price = weir.max "price", keep = "forever" })

-- 8: who came and opened an auction in the same ten seconds.
weir.join("q8", { left = persons, right = auctions, by = "person", size = "10s", late = "2s", keep = "forever" })

-- 12: bids of each bidder in ten seconds of arrival.
weir.window("q12", { from = arrived, by = "bidder", size = "10s", n = weir.count(), keep = "forever" })
