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

for cuts = 0, 2 do
  t.case("time stands still once all is closed, whatever starts again: " .. cuts, function()
    local hour = 3600000
    t.emit("rare", { who = "ann", at = start })
    t.pass "10m"
    if cuts > 0 then t.crash() end
    t.pass "55m"
    t.equal({ count "hours", count "pauses", count "before" }, { 1, 1, 1 })
    for _ = 1, cuts do
      t.crash()
      t.pass "2h"
    end
    t.emit("rare", { who = "ann", at = start + hour + 10 })
    t.pass "1s"
    t.equal({ count "hours_late", count "pauses_late", count "before_late" }, { 0, 0, 0 })
  end)
end
