-- once.lua: inputs that leave traces everywhere: in the ledger's audit list, in a total on another shard, as a
-- message to an output, and in a timer. An input that is refused is refused last, when all of that has been asked for.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text, list, map = weir.int, weir.text, weir.list, weir.map

local entry = { id = text, source = text, n = int }
local PAGE = 500

local output = weir.entity("output", { count = int, entries = map(int, entry) })
output:on("put", { text, text, int }, function(self, id, source, n)
  self.count = self.entries:append { id = id, source = source, n = n }
end)
output:query("page", { int, returns = list(entry), allow = "anyone" }, function(self, from)
  local rows = {}
  for _, row in self.entries:scan { from = from, limit = PAGE } do
    rows[#rows + 1] = { id = row.id, source = row.source, n = row.n }
  end
  return rows
end)

local total = weir.entity("total", { count = int })
total:on("add", { returns = int }, function(self)
  self.count = self.count + 1
  return self.count
end)
total:query("read", { returns = int, allow = "anyone" }, function(self) return self.count end)

local alarm = { id = text, due = int, fired = int }
local ledger = weir.entity("ledger", { count = int, rang = int, entries = map(int, entry), alarms = map(int, alarm) })

-- The answer holds what no second run could give again.
ledger:on("take", { text, text, int, int, text, returns = text, allow = "anyone" }, function(self, id, source, n, delay, payload)
  self.count = self.entries:append { id = id, source = source, n = n }
  local place = total("t" .. n % 4):add()
  weir.send(output(self.key), "put", id, source, n)
  if delay > 0 then weir.after(delay, "ring", id, weir.now() + delay) end
  if payload:sub(1, 6) == "refuse" then weir.fail("refused", id) end
  return id .. " " .. self.count .. " " .. place .. " " .. weir.id()
end)
ledger:on("ring", { text, int }, function(self, id, due)
  self.rang = self.alarms:append { id = id, due = due, fired = weir.now() }
end)
ledger:query("page", { int, returns = list(entry), allow = "anyone" }, function(self, from)
  local rows = {}
  for _, row in self.entries:scan { from = from, limit = PAGE } do
    rows[#rows + 1] = { id = row.id, source = row.source, n = row.n }
  end
  return rows
end)
ledger:query("alarm_page", { int, returns = list(alarm), allow = "anyone" }, function(self, from)
  local rows = {}
  for _, row in self.alarms:scan { from = from, limit = PAGE } do
    rows[#rows + 1] = { id = row.id, due = row.due, fired = row.fired }
  end
  return rows
end)
