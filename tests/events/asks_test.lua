-- SPDX-License-Identifier: MIT
local t = require "weir.test"
local app = t.app "asks.lua"
local one = app.order "one"

t.case("what can never be sent is refused when it is asked, and nothing was done", function()
  t.outside("bank", function() return { status = 200 } end)
  for _, path in ipairs { "/a b", "/\u{fc}", "/a#b", "/a\\b", "/..", "/a/%2E./b", "/.", "/a\r\nX: y" } do
    t.fails("arg", function() one:ask("POST " .. path, true) end)
  end
  t.fails("arg", function() one:ask("HEAD /a", true) end)
  t.equal(t.row(one), nil)
end)

t.case("all else is sent", function()
  t.outside("bank", function() return { status = 200 } end)
  for _, path in ipairs { "/", "/a%20b?c=/../.", "/...", "/a..b/.c", "//" } do
    t.equal(one:ask("POST " .. path, true), "answered")
  end
  t.equal(one:ask("HEAD /a", false), "answered")
end)
