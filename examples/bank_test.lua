-- bank_test.lua: run with `weir test examples/bank_test.lua`. Each case starts empty; each call is a request.
-- SPDX-License-Identifier: MIT
local t = require "weir.test"
local app = t.app "bank.lua"
local account = app.account

t.case("a deposit adds up", function()
  t.equal(account("ann"):deposit(100), 100)
  t.equal(account("ann"):deposit(20), 120)
  t.equal(account("ann"):balance(), 120)
end)

t.case("a transfer moves money", function()
  account("ann"):deposit(100)
  t.equal(account("ann"):transfer(account "bob", 30), 70)
  t.equal(account("bob"):balance(), 30)
end)

t.case("nobody goes below zero, and nothing is half done", function()
  account("ann"):deposit(10)
  t.fails("check", function() account("ann"):withdraw(11) end)
  t.fails("check", function() account("ann"):transfer(account "bob", 11) end)
  t.equal(account("ann"):balance(), 10)
  t.equal(account("bob"):balance(), 0)
end)

t.case("a transfer to oneself changes nothing", function()
  account("ann"):deposit(10)
  account("ann"):transfer(account "ann", 4)
  t.equal(account("ann"):balance(), 10)
end)

t.case("money survives a power cut", function()
  account("ann"):deposit(100)
  account("ann"):transfer(account "bob", 30)
  t.crash()
  t.equal(t.row(account "ann").balance, 70)
  t.equal(t.row(account "bob").balance, 30)
end)
