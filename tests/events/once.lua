-- once.lua: each `put` has three consequences, counted by its number: an event followed, a message and a timer.
-- While the sink is jammed all of them fail. SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text, map, bool, list = weir.int, weir.text, weir.map, weir.bool, weir.list

local sink   = weir.entity("sink", { jammed = bool, effects = map({ text, text, int }, int) })
local source = weir.entity("source", { last = int })
local done   = weir.stream("done", { source = source, sink = sink, n = int }, { key = "source" })

sink:on("jam", { bool }, function(self, jammed) self.jammed = jammed end)

sink:on("effect", { text, text, int }, function(self, kind, from, n)
  if self.jammed then weir.fail("jammed", n) end
  self.effects:put(kind, from, n, (self.effects:get(kind, from, n) or 0) + 1)
end)

-- Numbers that took effect, effects in all: equal when each did once.
sink:query("told", { text, text, returns = list(int) }, function(self, kind, from)
  local numbers, effects = 0, 0
  for _, _, _, count in self.effects:scan { from = { kind, from }, to = { kind, from } } do
    numbers, effects = numbers + 1, effects + count
  end
  return { numbers, effects }
end)

source:on("put", { sink, int, returns = int }, function(self, to, n)
  self.last = n
  done:emit { source = self, sink = to, n = n }
  weir.send(to, "effect", "message", self.key, n)
  weir.after("20ms", "ring", to, n)
  return n
end)

source:on("ring", { sink, int }, function(self, to, n) to:effect("timer", self.key, n) end)

source:follow(done, { by = "source" }, function(self, e) e.sink:effect("event", self.key, e.n) end)
