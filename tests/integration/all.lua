-- all.lua: cells that run programs of calls, some by weir.all: what comes out may not depend on the number of shards.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text, map = weir.int, weir.text, weir.map

-- `heard`: what came of each request depends on its order, of whichever requests.
local cell = weir.entity("cell", { n = int, letters = int, heard = map(int, { n = int }) })
local post = weir.service "post"
local told = { value = int, sends = int }

local function mix(n, value) return (n * 31 + value + 7) % 1000000007 end

-- The parts of a weir.all: how each ends, which cell it calls, whether it asks, what the cell is to run.
local function parts_read(program, at)
  local parts = {}
  while program:sub(at, at) ~= "}" do
    local form, key, asks, inner, next = program:match("^(%l)(%l)(%??)(%b())()", at)
    parts[#parts + 1] = { form = form, key = key, asks = asks ~= "", program = inner:sub(2, -2) }
    at = next
  end
  return parts, at + 1
end

local function run_call(part, tag)
  if part.asks then return cell(part.key):ask(part.program, tag) end
  return cell(part.key):run(part.program, tag)
end

--[[ a: changes the cell. l k: looks at one. p k: a message, of a service that all share. f x: fails with that word. e: an error.
{...}: calls all; t{...}: the same under pcall. A part, by its form: r returns the call; w waits for it and uses a variable outside;
s makes it and returns nothing; m changes the cell before; g raises an error; h calls under pcall, as a loop within; n nests. ]]
local function interpret(self, program, tag, write)
  local value, sends, at = self.n, 0, 1
  local function part_run(part)
    local form = part.form
    if form == "w" or form == "h" then
      local one
      if form == "h" then one = ({ pcall(run_call, part, tag) })[2] else one = run_call(part, tag) end
      value, sends = mix(value, one.value), sends + one.sends
      return { value = value, sends = 0 }
    end
    if form == "s" then sends = sends + run_call(part, tag).sends return end
    if form == "m" and write then self.n = mix(self.n, 5) end
    if form == "g" then error("a part fails") end
    if form == "n" then
      local two = weir.all({ 1, 2 }, function() return cell(part.key):ask("a", tag) end)
      return { value = mix(two[1].value, two[2].value), sends = 0 }
    end
    if part.asks then return cell(part.key):ask(part.program, tag) end
    return cell(part.key):run(part.program, tag)
  end
  local function fold(results, count)
    for i = 1, count do
      local one = results[i]
      value = mix(value, one and one.value or -i)
      sends = sends + (one and one.sends or 0)
    end
  end
  while at <= #program do
    local step, arg = program:sub(at, at), program:sub(at + 1, at + 1)
    at = at + 1
    if step == "a" then
      if write then self.n = mix(self.n, value) end
      value = mix(self.n, value)
    elseif step == "e" then
      error("a plain error")
    elseif step == "{" or step == "t" then
      local parts
      parts, at = parts_read(program, step == "t" and at + 1 or at)
      if step == "{" then
        fold(weir.all(parts, part_run), #parts)
      else
        local functions = {}
        for i, part in ipairs(parts) do functions[i] = function() return part_run(part) end end
        local good, results = pcall(weir.all, functions)
        if good then fold(results, #parts) else value = mix(value, #results) end
      end
    else
      at = at + 1
      if step == "l" then value = mix(value, cell(arg):look()) end
      if step == "p" then post:drop(cell(arg), value, tag) sends = sends + 1 end
      if step == "f" then weir.fail("f" .. arg) end
    end
  end
  return { value = value, sends = sends }
end

cell:on("run", { text, int, returns = told }, function(self, program, tag) return interpret(self, program, tag, true) end)
cell:query("ask", { text, int, returns = told }, function(self, program, tag) return interpret(self, program, tag, false) end)
cell:query("look", { returns = int }, function(self) return self.n end)
cell:query("row", { returns = { n = int, heard = int, letters = int } }, function(self)
  local heard = 0
  for tag, one in self.heard:scan() do heard = (heard + one.n * (tag + 1)) % 1000000007 end
  return { n = self.n, heard = heard, letters = self.letters }
end)
cell:on("hear", { int, int }, function(self, value, tag)
  local before = self.heard:get(tag)
  self.heard:put(tag, { n = mix(before and before.n or 0, value) })
  self.letters = self.letters + 1
end)
post:on("drop", { cell, int, int }, function(_, to, value, tag) weir.send(to, "hear", value, tag) end)

-- What a coroutine makes is in turn.
cell:on("routine", { text, returns = int }, function(self, keys)
  local routine = coroutine.wrap(function()
    local sum = 0
    for _, one in ipairs(weir.all({ keys:sub(1, 1), keys:sub(2, 2) }, function(k) return cell(k):run("a", 0) end)) do sum = sum + one.value end
    return sum
  end)
  self.n = self.n + 1
  return routine()
end)

-- Too long, in a part that comes behind one that is out.
cell:on("spin", { text }, function(self, key)
  weir.all({ 1, 2 }, function(i)
    if i == 2 then while true do self.n = self.n + 1 end end
    return cell(key):run("a", 0)
  end)
end)
