-- fraud.lua: what a card did in the last ten minutes blocks it: a window starts a transaction.
--
--   weir run examples/fraud.lua
--   curl localhost:8080/card/ann/issue -d '[1000]'
--   curl localhost:8080/card/ann/pay   -d '["bakery", 600, "2026-11-25T10:00:00Z"]'
--   curl localhost:8080/card/ann/pay   -d '["kiosk", 600, "2026-11-25T10:05:00Z"]'
--   curl localhost:8080/card/ann                 # blocked: too much
--   curl localhost:8080/streams/recent
--
-- Each payment is answered with the sums of the ten minutes before it: at once (final = false), and again when no earlier
-- one can come any more (final = true).
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text, bool, time = weir.int, weir.text, weir.bool, weir.time
local card   = weir.entity("card", { limit = int, blocked = bool, why = text })
local used   = weir.stream("used", { card = card, shop = text, amount = int, at = time }, { key = "card", time = "at", keep = "90d" })
local recent = weir.window("recent", { from = used, by = "card", last = "10m", late = "2m", early = true, total = weir.sum "amount", shops = weir.distinct "shop" })

card:create("issue", { int { min = 1 }, allow = "bank" }, function(self, limit) self.limit = limit end)
card:on("pay", { text, int { min = 1 }, time, allow = "shop" }, function(self, shop, amount, at)
  if self.blocked then weir.fail("blocked", self.why) end
  used:emit { card = self, shop = shop, amount = amount, at = at }
end)
card:follow(recent, { by = "card" }, function(self, w)            -- right after each payment, as its own transaction
  if w.total > self.limit then self.blocked, self.why = true, "too much"
  elseif w.shops >= 4 then self.blocked, self.why = true, "too many shops" end
end)
