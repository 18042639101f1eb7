-- fails_test.lua: cases that must fail. SPDX-License-Identifier: MIT
local t = require "weir.test"
local app = t.app "tour.lua"

t.case("unequal", function()
  t.equal(app.account("a"):add(1), 2)
end)

t.case("a failure nobody expects", function()
  app.account("a"):explode()
end)

t.case("nothing fails", function()
  t.fails("check", function() app.account("a"):add(1) end)
end)

t.case("another failure", function()
  local account = app.account
  t.fails("exists", function() account("a"):explode() end)
end)
