-- voter.lua: a television vote. The leaderboard is at every moment what counting the calls one by one would give.
--
--   weir run examples/voter.lua
--   curl localhost:8080/show/live/open -d '[6]'
--   curl localhost:8080/show/live/vote -d '["4155550100", 3]'
--   curl localhost:8080/show/live
--
-- Each call is a chain of three transactions: record it, rank the contestants, and with every K-th vote weed out
-- the weakest. What weeding removes decides what may be recorded next, so one chain ends before another begins:
-- calls wait in a queue, and the last step of a chain sends the first of the next.
-- Ties go to the lower number. SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text, bool, list, map = weir.int, weir.text, weir.bool, weir.list, weir.map

local K       = weir.setting("every", int { default = 1000, min = 1 })   -- votes until the weakest goes
local LIMIT   = weir.setting("limit", int { default = 2, min = 1 })      -- votes of one phone
local RECENT  = weir.setting("recent", int { default = 100, min = 1 })   -- votes that make a trend

local show = weir.entity("show", {
  counted = int, unknown = int, over = int, running = bool,
  top = list(int), bottom = list(int), trending = list(int),
  waiting = map(int, { phone = text, contestant = int }),           -- calls that no chain has begun for
  tally   = map(int, int),                                          -- votes of each contestant
  ballots = map({ int, text }, int),                                -- votes by contestant and phone
  recent  = map(int, int),                                          -- contestants of the last votes
  boards  = map(int, { top = list(int), bottom = list(int), trending = list(int), out = int, returned = int }),
})
local called = weir.stream("called", { show = show, phone = text, contestant = int }, { key = "show", keep = "7d" })

show:create("open", { int { min = 1, max = 100 } }, function(self, contestants)
  for c = 1, contestants do self.tally:put(c, 0) end
end)

show:on("vote", { text { max = 20 }, int, allow = "anyone" }, function(self, phone, contestant)
  called:emit { show = self, phone = phone, contestant = contestant }
end)

show:follow(called, { by = "show" }, function(self, call)           -- each call once, in the order of the stream
  self.waiting:append { phone = call.phone, contestant = call.contestant }
  if not self.running then
    self.running = true
    weir.send(self, "record")
  end
end)

local function chain_end(self)
  if self.waiting:first() then weir.send(self, "record") else self.running = false end
end

show:on("record", {}, function(self)                                -- step 1
  local place, call = self.waiting:first()
  local phone, contestant, used = call.phone, call.contestant, 0
  self.waiting:remove(place)
  for c in self.tally:scan {} do used = used + (self.ballots:get(c, phone) or 0) end
  if not self.tally:get(contestant) then
    self.unknown = self.unknown + 1
    chain_end(self)
  elseif used >= LIMIT then
    self.over = self.over + 1
    chain_end(self)
  else
    self.counted = self.counted + 1
    self.tally:put(contestant, self.tally:get(contestant) + 1)
    self.ballots:put(contestant, phone, (self.ballots:get(contestant, phone) or 0) + 1)
    weir.send(self, "rank", contestant)
  end
end)

-- The three with the most points; with sign -1 the three with the fewest.
local function best(points, sign)
  local order = {}
  for c in pairs(points) do order[#order + 1] = c end
  table.sort(order, function(a, b)
    if points[a] ~= points[b] then return sign * points[a] > sign * points[b] end
    return a < b
  end)
  return { order[1], order[2], order[3] }
end

local function rank(self)
  local votes, trend = {}, {}
  for c, n in self.tally:scan {} do votes[c] = n end
  for _, c in self.recent:scan {} do trend[c] = votes[c] and (trend[c] or 0) + 1 end
  self.top, self.bottom, self.trending = best(votes, 1), best(votes, -1), best(trend, 1)
end

show:on("rank", { int }, function(self, contestant)                 -- step 2
  self.recent:put(self.counted, contestant)
  self.recent:remove(self.counted - RECENT)
  rank(self)
  weir.send(self, "weed")
end)

show:on("weed", {}, function(self)                                  -- step 3
  if self.counted % K == 0 then
    local out, returned = 0, 0
    if #self.top > 1 then
      out = self.bottom[1]
      for c, phone, n in self.ballots:scan { from = { out }, to = { out } } do
        returned = returned + n                                     -- these phones may vote anew
        self.ballots:remove(c, phone)
      end
      self.tally:remove(out)
      rank(self)
    end
    self.boards:put(self.counted, { top = self.top, bottom = self.bottom, trending = self.trending,
                                    out = out, returned = returned })
  end
  chain_end(self)
end)
