-- maps.lua: a map beside a list that is changed in the same way: each step of a walk is judged by the list.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, bool, text, list, map = weir.int, weir.bool, weir.text, weir.list, weir.map

local KEYS = 80
local other = weir.entity("other", { n = int, rows = map(int, int) })
local box = weir.entity("box", { n = int, rows = map(int, { v = int, note = text }), around = map(int, int),
  twin = list { k = int, v = int } })

-- Makes rows come and go between those of others, so that the shard's tree changes while a walk waits for this.
other:on("churn", { int }, function(self, n)
  self.n = self.n + 1
  self.rows:put(n % 50, n)
  self.rows:remove((n + 25) % 50)
end)

local function number_from(seed)
  local state = seed % 2147483646 + 1
  return function(n)
    state = state * 16807 % 2147483647
    return state % n
  end
end

-- The key that is next in the table beyond `at` (nil: from the start), within the bounds.
local function neighbour(twin, at, from, to, reverse)
  local best
  for k in pairs(twin) do
    local beyond = not at or (reverse and k < at) or (not reverse and k > at)
    if beyond and k >= from and k <= to and (not best or (reverse and k > best) or (not reverse and k < best)) then best = k end
  end
  return best
end

-- One transaction of changes and walks; how many steps were judged.
box:on("walk", { int, int, bool, returns = int }, function(self, seed, steps, away)
  local draw, twin, judged = number_from(seed), {}, 0
  for _, row in ipairs(self.twin) do twin[row.k] = row.v end
  local function change()
    local k = draw(KEYS)
    if draw(3) > 0 then
      local v = draw(100000)
      self.rows:put(k, { v = v, note = "n" .. v })
      twin[k] = v
    else
      assert(self.rows:remove(k) == (twin[k] ~= nil), "remove")
      twin[k] = nil
    end
  end
  local function walk(depth)
    local from, to, reverse, at, seen = draw(KEYS), draw(KEYS), draw(2) == 1, nil, 0
    local limit = draw(4) == 0 and draw(5) + 1 or nil
    if from > to and draw(2) == 0 then from, to = to, from end
    for k, row in self.rows:scan { from = from, to = to, reverse = reverse, limit = limit } do
      local wanted = neighbour(twin, at, from, to, reverse)
      assert(k == wanted, ("met %s, not %s"):format(k, tostring(wanted)))
      assert(row.v == twin[k] and row.note == "n" .. row.v, "value")
      at, seen, judged = k, seen + 1, judged + 1
      local what = draw(12)
      if what == 0 then change()
      elseif what == 1 then row.v = row.v + 1; row.note = "n" .. row.v; twin[k] = row.v
      elseif what == 2 then self.rows:remove(k); twin[k] = nil
      elseif what == 3 and depth < 2 then walk(depth + 1)
      elseif what == 4 and away then other("o" .. draw(8)):churn(draw(1000))
      elseif what == 5 then self.around:put(draw(9), k) end
    end
    assert(seen == limit or neighbour(twin, at, from, to, reverse) == nil, "ended early")
  end
  for _ = 1, steps do
    if draw(2) == 0 then change() else walk(0) end
  end
  local count, kept = 0, {}
  for k, v in pairs(twin) do count, kept[#kept + 1] = count + 1, { k = k, v = v } end
  assert(self.rows:count() == count, "count")
  self.twin = kept
  return judged
end)

-- A query sees what its caller has changed and not yet returned, and may be asked by it.
box:query("sum", { returns = int }, function(self)
  local sum = self.n
  for _, row in self.rows:scan {} do sum = sum + row.v end
  return sum
end)
box:on("sum_within", { int, returns = list(int) }, function(self, v)
  local before = box(self.key):sum()
  self.n = self.n + 1
  local first, row = self.rows:first()
  if first then row.v = row.v + v else self.rows:put(1, { v = v, note = "" }) end
  return { before, box(self.key):sum() }
end)

box:on("fill", { int }, function(self, count)
  for k = 1, count do self.rows:put(k, { v = k, note = "" }) end
end)
box:query("twice", { int, returns = int }, function(self, limit)
  local seen = 0
  for _ = 1, 2 do
    for _ in self.rows:scan { limit = limit } do seen = seen + 1 end
  end
  return seen
end)

-- Rows as they are, in the answer; a record with other fields is read by name.
box:query("rows_of", { returns = list { v = int, note = text } }, function(self)
  local found = {}
  for _, row in self.rows:scan {} do found[#found + 1] = row end
  return found
end)
box:query("values_of", { returns = list { v = int } }, function(self)
  local found = {}
  for _, row in self.rows:scan {} do found[#found + 1] = row end
  return found
end)

-- Keys of each kind, walked over HTTP.
local shelf = weir.entity("shelf", { at = map(weir.time, int), by = map({ text, int }, int), plain = map(text, int) })
shelf:on("stock", {}, function(self)
  for k = 1, 5 do
    self.at:put(1750000000000 + k, k)
    self.by:put("a b", k, k)
    self.plain:put(({ "", "a&b", "ä", "x", "z" })[k], k)
  end
end)
