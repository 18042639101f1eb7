-- Followers that begin elsewhere than at the oldest event, for begin_test.lua.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text = weir.int, weir.text

local moved = weir.stream("moved", { who = text }, { key = "who", allow = "anyone" })
for name, from in pairs { fresh = "now", early = "1970-01-01T00:00:00Z", whole = "oldest" } do
  weir.entity(name, { seen = int }):follow(moved, { by = "who", from = from }, function(self) self.seen = self.seen + 1 end)
end
