-- fan.lua: a handler that calls others, as many as it is told, and nothing else: what a call, a key, a row cost.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text, list = weir.int, weir.text, weir.list

local cell = weir.entity("cell", { n = int, pad = text { max = 32768 } })

-- Arithmetic that nobody can leave out: never 0.
local function work(loops)
  local x = 1
  for _ = 1, loops do x = x * 16807 % 2147483647 end
  return x
end

cell:on("open", { int { min = 0, max = 32768 } }, function(self, bytes)
  self.n, self.pad = 0, ("x"):rep(bytes)
end)

cell:on("add", { int }, function(self, loops)
  self.n = self.n + (work(loops) > 0 and 1 or 0)
end)

-- `others`: their keys, each of `size` bytes, side by side.
cell:on("run", { text, int { min = 1 }, int, int, returns = int }, function(self, others, size, loops, together)
  if together == 0 then
    for at = 1, #others, size do cell(others:sub(at, at + size - 1)):add(loops) end
  else
    local places = {}
    for at = 1, #others, size do places[#places + 1] = at end
    weir.all(places, function(at) return cell(others:sub(at, at + size - 1)):add(loops) end)
  end
  self.n = self.n + (work(loops) > 0 and 1 or 0)
  return self.n
end)

cell:query("audit", { returns = list(int) }, function(self)
  return { self.n, #self.pad }
end)
