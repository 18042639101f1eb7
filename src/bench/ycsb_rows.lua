-- ycsb_rows.lua: the table of YCSB (Cooper et al., SoCC 2010): records of ten fields of 100 bytes.
--
-- Mixes A, B, C and F: an entity for each record. Mix E scans in the order of keys, which entities have not: there, 1,000
-- neighbouring records are the rows of one entity's map, and a scan that reaches its end goes on in the next one.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text, list, map = weir.int, weir.text, weir.list, weir.map

local FIELDS, BYTES, RANGE = 10, 100, 1000
local names, fields = {}, {}
for i = 1, FIELDS do
  names[i] = "f" .. (i - 1)
  fields[names[i]] = text { max = BYTES }
end

local function fill(row, values)
  for i = 1, FIELDS do row[names[i]] = values:sub((i - 1) * BYTES + 1, i * BYTES) end
end

local function add(found, row)
  for i = 1, FIELDS do found[#found + 1] = row[names[i]] end
end

local columns = { changes = int }
for name, kind in pairs(fields) do columns[name] = kind end
local record = weir.entity("record", columns)

record:on("open", { text }, function(self, values) fill(self, values); self.changes = 0 end)

record:query("read", { returns = list(text) }, function(self)
  local found = {}
  add(found, self)
  return found
end)

record:on("update", { int { min = 0, max = FIELDS - 1 }, text }, function(self, field, value)
  self[names[field + 1]] = value
  self.changes = self.changes + 1
end)

record:on("modify", { int { min = 0, max = FIELDS - 1 }, text, returns = list(text) }, function(self, field, value)
  local found = {}
  add(found, self)                            -- what was read; then what is written, in the same transaction
  self[names[field + 1]] = value
  self.changes = self.changes + 1
  return found
end)

-- How often it was changed, then the number that each field's value begins with.
record:query("audit", { returns = list(int) }, function(self)
  local found = { self.changes }
  for i = 1, FIELDS do found[#found + 1] = tonumber(self[names[i]]:sub(1, 12)) or -1 end
  return found
end)

local range = weir.entity("range", { g = int, rows = map(int, fields) }, { key = "g" })

range:on("insert", { int, text }, function(self, n, values)
  local row = {}
  fill(row, values)
  self.rows:put(n, row)
end)

range:query("scan", { int, int { min = 1, max = 100 }, returns = list(fields) }, function(self, from, limit)
  local found, count = {}, 0
  for _, row in self.rows:scan { from = from, limit = limit } do
    count = count + 1
    found[count] = row                        -- the record as it is: its texts never become Lua's
  end
  if count < limit and from + limit > (self.g + 1) * RANGE then
    for _, row in ipairs(range(self.g + 1):scan((self.g + 1) * RANGE, limit - count)) do found[#found + 1] = row end
  end
  return found
end)

range:query("audit", { returns = list(int) }, function(self)
  local count, sum = 0, 0
  for n in self.rows:scan {} do count, sum = count + 1, sum + n end
  return { count, sum }
end)
