-- A stream that is compacted by key, and one that keeps all for some days beside that.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text, bool = weir.int, weir.text, weir.bool

local item = weir.entity("item", { seen = int, price = int, gone = bool })
local prices = weir.stream("prices", { item = item, price = int, gone = bool },
  { key = "item", keep = "latest", tombstone = "gone" })
weir.stream("days", { item = text, price = int }, { key = "item", keep = "latest, 3d" })

item:follow(prices, { by = "item" }, function(self, e)
  self.seen = self.seen + 1
  self.price = e.price
  self.gone = e.gone
end)
