-- payments.lua: an order is charged by a bank outside, once, whatever breaks in between.
--
--   weir run examples/payments.lua --set bank_url=http://127.0.0.1:9000    # BANK_KEY is in the environment
--   curl localhost:8080/order/o1/pay -d '[500]' -H 'Idempotency-Key: o1'     # answered when the bank has answered
--   curl localhost:8080/order/o1
--
-- Any bank will do that takes POST /charges and honours Idempotency-Key: a charge with an id it knows is not made
-- again. tests/events/bank.py is one that fails at random.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text, enum = weir.int, weir.text, weir.enum

local order = weir.entity("order", { total = int, charge = text,
                                     status = enum { "new", "paying", "paid", "refused", "silent" } })
local paid  = weir.stream("paid", { order = order, total = int }, { keep = "forever" })
local bank  = weir.outside("bank", {
  url = weir.setting("bank_url", text), timeout = "5s", give_up = "10m",
  headers = { Authorization = weir.secret "bank_key" },
})

order:on("pay", { int { min = 1 }, allow = "anyone" }, function(self, total)
  if self.status ~= "new" then weir.fail("not_payable", self.status) end
  self.total, self.status = total, "paying"
  -- Leaves after the commit; who called is answered by what `charged` returns.
  return bank:ask("POST /charges", { amount = total, reference = self.key }, "charged")
end)

order:on("charged", { weir.answer }, function(self, answer)          -- later, once: a transaction of its own
  if answer.outcome == "unknown" then
    self.status = "silent"                        -- ten minutes without an answer: the charge may exist
  elseif answer.status == 201 then
    self.status, self.charge = "paid", answer.body.id
    paid:emit { order = self, total = self.total }
  else
    self.status = "refused"
  end
  return { status = self.status, charge = self.charge }
end)
