local t = require "weir.test"
local app = t.app "deferred.lua"
local a = app.box "a"

t.case("the answer is the later transaction's", function()
  t.equal(a:later(5), 5)
  t.equal(a:later(2), 7)
  t.equal(a:to_desk(3), 300)
  t.equal(a:second(9), 9)                        -- of the first that was sent, not the last
  t.equal(t.row(app.box "far").n, 16)
end)

t.case("it may defer again", function()
  for hops = 0, 5 do t.equal(a:chain(1, hops), hops + 1) end
end)

t.case("a call hands the ticket on", function()
  t.equal(a:through(4), 4)
  t.equal(app.desk:go(1), 5)
  t.equal(a:all(10), 10)
  t.equal(a:dropped(1), -1)
  t.pass "1s"
  t.equal(t.row(app.box "far").n, 26)
end)

t.case("what does not fit is refused before anything is done", function()
  t.fails("handler", function() a:other_type(1) end)
  t.fails("handler", function() a:undeclared(1) end)
  a:keep()
  a:keep()
  t.fails("handler", function() a:stale() end)
  t.equal(t.row(a).was, 2)
  t.pass "1m"
  t.equal(t.row(app.box "far"), nil)
end)

t.case("a failing one is awaited, until it does not fail", function()
  t.fails("pending", function() a:wait(3) end)
  t.fails("pending", function() t.wait() end)
  t.crash()
  app.box("far"):open()
  t.pass "2m"
  t.equal(t.wait(), 3)
  t.equal(t.wait(), 3)
  t.pass "25h"                                    -- dedup_window_ms and dedup_window_min_ms
  t.fails("notfound", function() t.wait() end)
end)

t.case("the answer of a service outside is one", function()
  t.outside("bank", function(request) return { status = request.body.amount == 1 and 201 or 402 } end)
  t.equal(a:pay(1), { status = 201, outcome = "answered" })
  t.equal(a:pay(2), { status = 402, outcome = "answered" })
  t.equal(a:hook(), nil)
  t.outside("bank", function() return nil end)
  t.equal(a:pay(1).outcome, "unknown")
  t.fails("pending", function() a:hook() end)     -- parked
end)

t.case("where nobody waits a ticket means nothing", function()
  a:timer()
  t.pass "10s"
  t.equal({ t.row(a).was, t.row(a).n }, { 7, 1 })
end)

t.case("only who asked may read it", function()
  t.fails("pending", function() a:wait(3) end)
  t.as { id = "ann", roles = { "clerk" } }
  t.fails("noperm", function() t.wait() end)
  t.as()
  t.fails("pending", function() t.wait() end)
end)
