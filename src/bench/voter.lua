-- voter.lua: Voter (VoltDB's example, after a Japanese television show): a call votes for a contestant, so often for each phone.
--
-- An area holds its copy of the table of contestants with their votes, so the view of votes by contestant and area is kept in the
-- same transaction; a phone lives on its area's shard.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text, bool, list, map = weir.int, weir.text, weir.bool, weir.list, weir.map

local area  = weir.entity("area", { a = int, state = text, votes = map(int, int) }, { key = "{a}" })
local phone = weir.entity("phone", { a = int, number = int, count = int, votes = map(int, { state = text, contestant = int }) },
  { key = "{a}:number" })

area:on("open", { text, int { min = 1, max = 100 } }, function(self, state, contestants)
  self.state = state
  for c = 1, contestants do self.votes:put(c, 0) end
end)

-- The state, or nothing for an unknown contestant; counted only if the phone may still vote.
area:on("cast", { int, bool, returns = text }, function(self, contestant, counted)
  local votes = self.votes:get(contestant)
  if not votes then return "" end
  if counted then self.votes:put(contestant, votes + 1) end
  return self.state ~= "" and self.state or "XX"
end)

-- 0: counted, 1: no such contestant, 2: the phone has voted too often.
phone:on("vote", { int, int, returns = int }, function(self, contestant, limit)
  local state = area(self.a):cast(contestant, self.count < limit)
  if state == "" then return 1 end
  if self.count >= limit then return 2 end
  self.count = self.count + 1
  self.votes:append { state = state, contestant = contestant }
  return 0
end)

area:query("audit", { returns = list(int) }, function(self)
  local found = {}
  for _, votes in self.votes:scan {} do found[#found + 1] = votes end
  return found
end)
phone:query("audit", { returns = list(int) }, function(self) return { self.count, self.votes:count() } end)
