-- Events without values, at the edges of numbers, and sessions that share their values, for values_test.lua.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text, time, float, opt = weir.int, weir.text, weir.time, weir.float, weir.opt

local user = weir.entity("user", { empty = int, of_hour = time, of_note = time })
local seen = weir.stream("seen", { who = text, n = opt(int), x = opt(float), when = opt(time), word = opt(text), at = time },
  { time = "at", allow = "anyone" })
local function over(options)
  options.from, options.by = seen, "who"
  options.n, options.sum, options.real, options.zeros = weir.count(), weir.sum "n", weir.sum "x", weir.distinct "x"
  options.least, options.most, options.mean, options.newest = weir.min "n", weir.max "x", weir.avg "n", weir.max "when"
  options.first, options.last, options.words = weir.first "when", weir.last "word", weir.distinct "word"
  return options
end
local hours = weir.window("hours", over { size = "1h" })
weir.window("visits", over { gap = "10m", late = "1h", dear = weir.top(100, "n") })

user:follow(hours, { by = "who" }, function(self, w, meta)
  self.of_hour = meta.time
  if w.least == nil and w.most == nil and w.mean == nil and w.newest == nil and w.first == nil and w.last == nil then
    self.empty = self.empty + 1
  end
end)

-- A test's own numbers pass through JSON.
weir.service("page"):on("zeros", {}, function()
  for _, sign in ipairs { 1, -1 } do seen:emit { who = "ann", x = 0 / sign, at = 0 } end
end)

local notes = weir.stream("notes", { who = text, at = opt(time) }, { time = "at", allow = "anyone" })
user:follow(notes, { by = "who" }, function(self, _, meta) self.of_note = meta.time end)
