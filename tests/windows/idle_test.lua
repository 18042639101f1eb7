-- SPDX-License-Identifier: MIT
local t = require "weir.test"
t.app "idle.lua"
local start = 1000000000000

local function count(name) return #t.events(name) end

t.case("each window has a silence of its own", function()
  t.emit("seen", { who = "ann", at = start })
  t.pass "9s"
  t.equal({ count "quick", count "patient", count "slow" }, { 0, 0, 0 })
  t.pass "2s"
  t.equal({ count "quick", count "slow" }, { 1, 0 })
  t.pass "18s"
  t.equal({ count "patient", count "slow" }, { 1, 0 })
  t.pass "2s"
  t.equal(count "slow", 1)
end)
