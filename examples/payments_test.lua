-- payments_test.lua: run with `weir test examples/payments_test.lua`. The test plays the bank.
-- SPDX-License-Identifier: MIT
local t = require "weir.test"
local app = t.app("payments.lua", { bank_url = "http://bank", bank_key = "k" })
local o1 = app.order "o1"

local function bank_says(status, body)
  t.outside("bank", function(request)
    t.equal(request.body, { amount = 500, reference = "o1" })
    return { status = status, body = body }
  end)
end

t.case("an order that the bank takes is paid, and the stream says so once", function()
  bank_says(201, { id = "c1" })
  t.equal(o1:pay(500), { status = "paid", charge = "c1" })
  t.equal({ t.row(o1).status, t.row(o1).charge }, { "paid", "c1" })
  t.equal(#t.events "paid", 1)
  t.fails("not_payable", function() o1:pay(500) end)
end)

t.case("an order that the bank refuses is refused", function()
  bank_says(402, { reason = "no funds" })
  t.equal(o1:pay(500).status, "refused")
  t.equal(t.row(o1).status, "refused")
  t.equal(#t.events "paid", 0)
end)

t.case("no answer for ten minutes is silence, for a person to look into", function()
  t.outside("bank", function() return nil end)        -- tried until it was given up
  t.equal(o1:pay(500).status, "silent")
  t.equal(t.row(o1).status, "silent")
end)

t.case("a power cut after the answer loses nothing", function()
  bank_says(201, { id = "c1" })
  o1:pay(500)
  t.crash()
  t.pass "1m"
  t.equal(t.row(o1).status, "paid")
  t.equal(#t.events "paid", 1)
end)
