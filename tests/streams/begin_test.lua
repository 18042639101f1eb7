-- SPDX-License-Identifier: MIT
local t = require "weir.test"
local app = t.app "begin.lua"

local function seen(name) return (t.row(app[name] "ann") or { seen = 0 }).seen end

for count = 1, 8 do
  t.case("what came after the first start is seen: power is cut after " .. count, function()
    for _ = 1, count do t.emit("moved", { who = "ann" }) end
    t.crash()
    t.emit("moved", { who = "ann" })
    t.crash()
    t.pass "10s"
    t.equal({ seen "fresh", seen "early", seen "whole" }, { count + 1, count + 1, count + 1 })
  end)
end
