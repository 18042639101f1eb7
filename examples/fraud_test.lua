-- SPDX-License-Identifier: MIT
local t = require "weir.test"
local app = t.app "fraud.lua"
local second, minute = 1000, 60000

t.case("too much within ten minutes blocks, the same over an hour does not", function()
  app.card("ann"):issue(1000)
  for i = 0, 5 do app.card("ann"):pay("bakery", 600, i * 11 * minute); t.pass "10ms" end
  t.equal(t.row(app.card "ann").blocked, false)
  app.card("ann"):pay("bakery", 600, 56 * minute)
  t.pass "10ms"
  t.equal(t.row(app.card "ann").why, "too much")
  t.fails("blocked", function() app.card("ann"):pay("bakery", 1, 57 * minute) end)
end)

t.case("a fourth shop within ten minutes blocks, also when payments come in disorder and over a power cut", function()
  app.card("bob"):issue(1000000)
  for i = 1, 3 do app.card("bob"):pay("shop " .. i, 1, (60 - 20 * i) * second); t.pass "10ms" end
  t.crash()
  t.equal(t.row(app.card "bob").blocked, false)
  app.card("bob"):pay("shop 4", 1, 70 * second)
  t.pass "10ms"
  t.equal(t.row(app.card "bob").why, "too many shops")
end)

t.case("each payment has one final row", function()
  app.card("cid"):issue(100)
  for i = 1, 5 do app.card("cid"):pay("bakery", i, i * minute); t.pass "10ms" end
  local early, final = 0, {}
  for _, e in ipairs(t.events "recent") do
    if e.event.final then final[#final + 1] = e.event.total else early = early + 1 end
  end
  t.equal(early, 5)
  t.equal(final, { 1, 3 })       -- those that are two minutes behind the newest
end)
