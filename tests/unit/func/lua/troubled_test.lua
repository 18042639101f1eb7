-- troubled_test.lua: cases that must fail, but the first, and say why. SPDX-License-Identifier: MIT
local t = require "weir.test"
local app = t.app("troubled.lua", { hold = true, bank_url = "https://bank" })

t.case("fine", function()
  t.outside("bank", function(request) return { body = request.body } end)
  app.a("x"):ask()
  t.pass "1s"
  t.equal({ t.row(app.a "x").came, app.a("x"):held() }, { "answered", true })
end)

t.case("equal outside", function()
  t.outside("bank", function(request) t.equal(request.body.n, 2) return {} end)
  app.a("x"):ask()
  t.pass "20m"
  t.equal(t.row(app.a "x").came, "unknown")
end)

t.case("text outside", function()
  t.outside("bank", function() return "x" end)
  app.a("x"):ask()
  t.pass "1s"
end)

t.case("body outside", function()
  t.outside("bank", function() return { body = function() end } end)
  app.a("x"):ask()
  t.pass "1s"
end)

t.case("a rule raises", function() app.a("x"):set(7) end)
