-- tour_test.lua: Lua handlers in the real engine, three shards, virtual time. SPDX-License-Identifier: MIT
local t = require "weir.test"
local app = t.app "tour.lua"
local account, show, order = app.account, app.show, app.order

t.case("an unpaid order frees its seats", function()
  t.as { id = "ann", roles = { "operator" } }
  show("s1"):announce(2500, { "A1", "A2", "A3" })
  t.equal(order("o1"):place(show "s1", { "A1", "A2" }), { total = 5000 })
  t.fails("not_free", function() order("o2"):place(show "s1", { "A2", "A3" }) end)
  t.equal(show("s1"):free(), { "A3" })
  t.equal(t.row(order "o1").note, { by = "ann", seats = { "A1", "A2" } })
  t.pass "16m"
  t.equal(t.row(order "o1").status, "expired")
  t.equal(show("s1"):free(), { "A1", "A2", "A3" })
  t.fails("not_payable", function() order("o1"):pay() end)
end)

t.case("a paid order stays, over a crash too", function()
  show("s1"):announce(10, { "A1" })
  order("o1"):place(show "s1", { "A1" })
  t.crash()
  order("o1"):pay()
  t.crash()
  t.pass "1h"
  t.equal(t.row(order "o1").status, "paid")
  t.equal(show("s1"):free(), {})
  t.fails("exists", function() show("s1"):announce(10, {}) end)
  t.fails("notfound", function() show("s2"):free() end)
end)

t.case("messages arrive once, and later", function()
  local all = {}
  for i = 1, 20 do all[i] = account("m" .. i) end
  for _ = 1, 5 do account("teller"):tell(all, 2) end
  t.pass "10s"
  for i = 1, 20 do t.equal(t.row(all[i]).heard, 10) end
end)

t.case("calls at the same time add up, or nothing does", function()
  local all = {}
  for i = 1, 30 do all[i] = account("w" .. i) end
  account("rich"):add(100)
  t.equal(account("rich"):spread(all, 3), 10)
  t.fails("check", function() account("rich"):spread(all, 1) end)
  for i = 1, 30 do t.equal(t.row(all[i]).balance, 3) end
  t.equal(t.row(account "rich").balance, 10)
  t.equal(account("w1"):count(), 1)
end)

t.case("an error of another handler is not swallowed", function()
  for i = 1, 5 do
    t.fails("handler", function() account("a" .. i):swallow(account("b" .. i)) end)
    t.equal(t.row(account("a" .. i)), nil)
  end
end)

t.case("a handler that never ends is stopped wherever it runs", function()
  account("x"):add(1)
  for i = 1, 2 do
    t.fails("budget", function() account("x"):spin() end)
    t.fails("budget", function() account("y" .. i):spin_far(account("z" .. i)) end)
    t.equal(account("x"):add(1), 1 + i)
    t.equal(t.row(account("y" .. i)), nil)
  end
  t.fails("budget", function() account("x"):eat() end)
  t.equal(account("x"):add(1), 4)
end)

t.case("cycles of calls come back to the same row", function()
  t.equal(account("p"):ping(account "q", 9), 4)
  t.equal(t.row(account "p").balance, 5)
  t.fails("budget", function() account("p"):ping(account "q", 90) end)
  t.equal(account("r"):ping(account "r", 5), 5)
end)

t.case("typed keys, services, existence", function()
  t.equal(app.desk:open("ann", 5), true)
  t.equal(app.desk:open("ann", 5), false)
  t.equal(app.desk:open("bob"), true)
  t.equal(app.desk:line(3, 4), 305)
  t.equal(app.line(3, 4):next(), 609)
  account("ann"):leave()
  t.equal(t.row(account "ann"), nil)
  t.equal(app.desk:open("ann", 7), true)
  t.equal(account("ann"):count(), 1)
  t.fails("handler", function() account("ann"):sneak() end)
  t.fails("arg", function() account("ann"):add("x") end)
  t.fails("arg", function() account("ann"):add() end)
end)

t.case("callers get what `allow` says", function()
  local desk = app.desk
  t.equal(desk:whoami(), { id = "operator", roles = { "operator" } })
  t.as { id = "ann", roles = { "clerk", "auditor" } }
  t.equal(desk:whoami(), { id = "ann", roles = { "clerk", "auditor" } })
  t.equal(desk:serve(), "ann")
  t.fails("noperm", function() desk:close() end)
  t.as { id = "bob" }
  t.equal(desk:whoami(), { id = "bob", roles = {} })
  t.fails("noperm", function() desk:serve() end)
  t.as {}
  t.equal(desk:whoami(), { id = "", roles = {} })
  t.fails("noauth", function() desk:serve() end)
  t.as { id = "op", roles = { "operator" } }
  t.equal(desk:serve(), "op")
  t.as()
  t.equal(desk:close(), "operator")
end)
