-- voter_test.lua: run with `weir test examples/voter_test.lua`.
-- SPDX-License-Identifier: MIT
local t = require "weir.test"
local app = t.app("voter.lua", { every = 5, limit = 2, recent = 3 })
local live = app.show "live"

local function call(votes)
  for i, v in ipairs(votes) do live:vote("phone" .. v[1], v[2]) end
  t.pass "1s"
  return t.row(live)
end

t.case("votes are counted and ranked; ties go to the lower number", function()
  live:open(4)
  local row = call { { 1, 3 }, { 2, 3 }, { 3, 1 } }
  t.equal(row.counted, 3)
  t.equal(row.top, { 3, 1, 2 })
  t.equal(row.bottom, { 2, 4, 1 })
  t.equal(row.trending, { 3, 1 })
  t.equal(row.running, false)
end)

t.case("unknown contestants and phones past their limit do not count", function()
  live:open(2)
  local row = call { { 1, 9 }, { 1, 1 }, { 1, 2 }, { 1, 1 } }
  t.equal({ row.unknown, row.over, row.counted }, { 1, 1, 2 })
end)

t.case("every fifth vote the weakest goes, and its votes come back", function()
  live:open(3)
  local row = call { { 1, 1 }, { 1, 2 }, { 2, 3 }, { 3, 1 }, { 2, 3 }, { 1, 3 }, { 1, 2 } }
  t.equal(row.top, { 3, 1 })                 -- 2 had one vote, of phone 1: it went with that vote
  t.equal(row.unknown, 1)
  t.equal(row.counted, 6)                    -- phone 1 voted anew, and its vote for 2 was for nobody
end)

t.case("a trend looks at the last votes only", function()
  live:open(3)
  t.equal(call({ { 1, 1 }, { 2, 1 }, { 3, 2 }, { 4, 2 } }).trending, { 2, 1 })
end)

t.case("a power cut in the middle changes nothing", function()
  live:open(3)
  call { { 1, 1 }, { 2, 1 } }
  live:vote("phone3", 2)
  t.crash()
  local row = call { { 4, 2 }, { 5, 2 } }
  t.equal({ row.counted, row.top }, { 5, { 2, 1 } })
end)
