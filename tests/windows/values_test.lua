-- SPDX-License-Identifier: MIT
local t = require "weir.test"
local app = t.app "values.lua"

local function emit(event)
  event.who, event.at = event.who or "ann", event.at or 0
  t.emit("seen", event)
end

local function ended()
  t.finish "seen"
  t.pass "1s"
  return t.events "hours", t.events "hours_late"
end

t.case("of no values there is no least, no first, no mean", function()
  emit {}
  local rows = ended()
  t.equal(#rows, 1)
  local w = rows[1].event
  t.equal({ w.n, w.sum, w.real, w.zeros, w.words }, { 1, 0, 0, 0, 0 })
  for _, column in ipairs { "least", "most", "mean", "newest", "first", "last" } do t.equal(w[column], nil) end
  t.equal(t.row(app.user "ann").empty, 1)
end)

t.case("a sum of floats stays a number: what would not is refused, like that of whole ones", function()
  emit { x = 1e308 }
  emit { x = 1e308 }
  emit { x = -1e308 }
  local rows, late = ended()
  t.equal({ rows[1].event.real, rows[1].event.n }, { 0, 2 })
  t.equal({ #late, late[1].event.why }, { 1, "range: real would leave the finite numbers" })
end)

t.case("-0 and 0 are one value", function()
  app.page:zeros()
  t.equal(ended()[1].event.zeros, 1)
end)

t.case("sessions that have the same values are joined: each counts once against the limits", function()
  local minute = 60000
  local long = ("x"):rep(500)
  for _, at in ipairs { 0, 15 * minute } do
    for i = 1, 40 do emit { word = long .. i, n = i, at = at } end
  end
  emit { word = "between", at = 8 * minute }
  ended()
  local rows, late = t.events "visits", t.events "visits_late"
  t.equal(#late, 0)
  t.equal({ #rows, rows[1].event.n, rows[1].event.words, #rows[1].event.dear }, { 1, 81, 41, 80 })
end)

t.case("a follower is told the time that a window would count by", function()
  emit {}
  ended()
  t.equal(t.row(app.user "ann").of_hour, "1970-01-01T00:59:59.999Z")
  t.emit("notes", { who = "ann" })
  t.pass "1s"
  t.equal(t.row(app.user "ann").of_note:sub(1, 10), "2023-11-14")
  t.emit("notes", { who = "ann", at = 5 })
  t.pass "1s"
  t.equal(t.row(app.user "ann").of_note, "1970-01-01T00:00:00.005Z")
end)
