-- orders_test.lua: run with `weir test examples/orders_test.lua`.
-- SPDX-License-Identifier: MIT
local t = require "weir.test"
local app = t.app "orders.lua"
local pen, depot, o1 = app.item "pen", app.depot "main", app.order "o1"

local function place(stock, count)
  pen:restock(stock)
  o1:place(pen, count)
end

t.case("an order that is not paid expires, and its goods go back", function()
  place(10, 3)
  t.equal(t.row(pen).stock, 7)
  t.pass "14m"
  t.equal(t.row(o1).status, "open")
  t.pass "2m"
  t.equal(t.row(o1).status, "expired")
  t.equal(t.row(pen).stock, 10)
  t.fails("not_payable", function() o1:pay() end)
end)

t.case("an order that is paid is packed, and does not expire", function()
  depot:boxes(1)
  place(10, 3)
  o1:pay()
  t.pass "1h"
  t.equal({ t.row(o1).status, t.row(pen).stock, t.row(depot).boxes }, { "packed", 7, 0 })
end)

t.case("what is not there cannot be ordered", function()
  t.fails("check", function() place(2, 3) end)
  t.equal(t.row(o1), nil)
end)

t.case("a timer fires once, also over a power cut", function()
  place(10, 3)
  t.crash()
  t.pass "16m"
  t.crash()
  t.pass "1h"
  t.equal(t.row(pen).stock, 10)
end)

t.case("packing is tried again while boxes are missing", function()
  place(10, 1)
  o1:pay()
  t.pass "10s"
  t.equal(t.row(o1).status, "paid")
  depot:boxes(5)
  t.pass "1m"
  t.equal({ t.row(o1).packed, t.row(depot).packed }, { 1, 1 })
end)

t.case("too many failures park it: it waits for a person, and is not lost", function()
  place(10, 1)
  o1:pay()
  t.pass "1h"
  depot:boxes(5)
  t.pass "1h"
  t.equal({ t.row(o1).status, t.row(depot).boxes }, { "paid", 5 })
end)
