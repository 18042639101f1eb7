-- history.lua: the application whose histories the checker judges: accounts, lists, registers, and a service that
-- runs up to eight operations on them in one transaction. The same in C: history_app.c.
--
-- An account keeps `seq`, raised at each change, so that the order of changes of each account can be read from
-- the answers.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text, list, map, enum = weir.int, weir.text, weir.list, weir.map, weir.enum

local moved = { a = int, b = int, c = int, d = int }
local account = weir.entity("account", { balance = int { min = 0, default = 1000 }, seq = int })

account:on("credit", { int, returns = moved, allow = "anyone" }, function(self, amount)
  local before = self.balance
  self.seq, self.balance = self.seq + 1, before + amount
  return { a = 0, b = 0, c = self.seq, d = before }
end)

account:on("transfer", { account, int, returns = moved, allow = "anyone" }, function(self, to, amount)
  local before = self.balance
  if before < amount then weir.fail("insufficient", self.key) end
  local seq = self.seq + 1
  self.seq, self.balance = seq, before - amount
  if amount % 4 == 3 then return to:take_back(self, amount, seq, before) end
  if amount % 4 ~= 0 then return to:take(self, amount, seq, before) end      -- the last act: its shard may decide
  local other = to:credit(amount)
  return { a = seq, b = before, c = other.c, d = other.d }
end)

account:on("take", { account, int, int, int, returns = moved }, function(self, from, amount, a, b)
  local seq, before = self.seq + 1, self.balance
  self.seq, self.balance = seq, before + amount
  return { a = a, b = b, c = seq, d = before }
end)

-- Sees through the one who pays what both have changed: a handler within each of the two.
account:on("take_back", { account, int, int, int, returns = moved }, function(self, from, amount, a, b)
  local seen = from:glance(self)
  if seen.a ~= a or seen.b ~= b - amount then weir.fail("astray", self.key) end
  local seq, before = self.seq + 1, self.balance
  self.seq, self.balance = seq, before + amount
  return { a = a, b = b, c = seq, d = before }
end)

account:query("glance", { account, returns = moved }, function(self, to)
  to:audit()
  return { a = self.seq, b = self.balance, c = 0, d = 0 }
end)

-- A cycle: this account calls the other, which calls back into this one.
account:on("cycle", { account, int, returns = moved, allow = "anyone" }, function(self, to, amount)
  local before, seq = self.balance, self.seq + 1
  self.seq, self.balance = seq, before - amount
  local other = to:relay(self, amount)
  return { a = seq, b = before, c = other.c, d = other.d }
end)

-- Takes the amount and calls back: the caller's row changes under its feet.
account:on("relay", { account, int, returns = moved }, function(self, to, amount)
  local before, seq = self.balance, self.seq + 1
  self.seq, self.balance = seq, before + amount
  to:credit(0)
  return { a = 0, b = 0, c = seq, d = before }
end)

account:query("audit", { returns = moved, allow = "anyone" }, function(self)
  return { a = self.seq, b = self.balance, c = 0, d = 0 }
end)

-- Elements in a map, so that a list may grow.
local items = weir.entity("list", { count = int, items = map(int, int) })

items:on("append", { int, returns = int, allow = "anyone" }, function(self, value)
  self.count = self.items:append(value)
  return self.count
end)

items:query("read", { returns = list(int), allow = "anyone" }, function(self)
  local all = {}
  for _, item in self.items:scan() do all[#all + 1] = item end
  return all
end)

-- What is appended later: by a message that another list sends, or by a timer of this one.
items:on("post", { items, int, allow = "anyone" }, function(self, to, value)
  weir.send(to, "append", value)
end)

items:on("later", { int, int, allow = "anyone" }, function(self, delay, value)
  weir.after(delay, "append", value)
end)

local reg = weir.entity("reg", { value = int })

reg:on("write", { int, returns = int, allow = "anyone" }, function(self, value)
  local before = self.value
  self.value = value
  return before
end)

reg:query("get", { returns = int, allow = "anyone" }, function(self)
  return self.value
end)

-- VoltDB's self check: each source counts, and every transaction proves what the ones before it left.
local tally = weir.entity("tally", { count = int, sum = int, rows = map(int, { value = int, sum = int }) })
local function mix(sum, value) return (sum * 31 + value) % 1000000007 end

tally:on("count_up", { int, returns = int, allow = "anyone" }, function(self, value)
  local sum, last = 0, 0
  for n, row in self.rows:scan { from = self.count - 8, to = self.count } do
    if last > 0 and (n ~= last + 1 or row.sum ~= mix(sum, row.value)) then weir.fail("selfcheck", self.key) end
    if last == 0 and n == 1 and row.sum ~= mix(0, row.value) then weir.fail("selfcheck", self.key) end
    last, sum = n, row.sum
  end
  if last ~= self.count or sum ~= self.sum then weir.fail("selfcheck", self.key) end
  self.count, self.sum = self.count + 1, mix(sum, value)
  self.rows:put(self.count, { value = value, sum = self.sum })
  return self.count
end)

tally:query("read", { returns = list(int), allow = "anyone" }, function(self)
  local all = {}
  for _, row in self.rows:scan() do all[#all + 1] = row.value end
  return all
end)

-- FoundationDB's cycle: nodes in a ring, three pointers turned at a time; it must stay one ring of all nodes.
local RING = 8
local node = weir.entity("node", { next = int })
node:on("set", { int }, function(self, n) self.next = n end)
node:query("get", { returns = int }, function(self) return self.next end)

local function ring_next(ring, n)
  local next = node(ring .. ":" .. n):get()
  return next > 0 and next - 1 or (n + 1) % RING
end

local function ring_turn(ring, n)
  local two = ring_next(ring, n)
  local three = ring_next(ring, two)
  local four = ring_next(ring, three)
  node(ring .. ":" .. n):set(three + 1)
  node(ring .. ":" .. three):set(two + 1)
  node(ring .. ":" .. two):set(four + 1)
  return RING
end

local function ring_walk(ring)
  local n, steps = 0, 0
  repeat n, steps = ring_next(ring, n), steps + 1 until n == 0 or steps > RING
  return steps
end

local function number(a) return { a = a, b = 0, c = 0, d = 0, items = {} } end

local run = {
  count = function(op) return number(tally(op.key):count_up(op.value)) end,
  tally = function(op) return { a = 0, b = 0, c = 0, d = 0, items = tally(op.key):read() } end,
  send = function(op) items(op.key):post(items(op.to), op.value) return number(0) end,
  later = function(op) items(op.key):later(op.value % 200, op.value) return number(0) end,
  both = function(op)
    local r = weir.all({ op.key, op.to }, function(key) return account(key):audit() end)
    return { a = r[1].a, b = r[1].b, c = r[2].a, d = r[2].b, items = {} }
  end,
  turn = function(op) return number(ring_turn(op.key, op.value % RING)) end,
  walk = function(op) return number(ring_walk(op.key)) end,
  append = function(op) return { a = items(op.key):append(op.value), b = 0, c = 0, d = 0, items = {} } end,
  read = function(op) return { a = 0, b = 0, c = 0, d = 0, items = items(op.key):read() } end,
  write = function(op) return { a = reg(op.key):write(op.value), b = 0, c = 0, d = 0, items = {} } end,
  get = function(op) return { a = reg(op.key):get(), b = 0, c = 0, d = 0, items = {} } end,
  transfer = function(op)
    local r = account(op.key):transfer(account(op.to), op.value)
    return { a = r.a, b = r.b, c = r.c, d = r.d, items = {} }
  end,
  audit = function(op)
    local r = account(op.key):audit()
    return { a = r.a, b = r.b, c = 0, d = 0, items = {} }
  end,
  cycle = function(op)
    local r = account(op.key):cycle(account(op.to), op.value)
    return { a = r.a, b = r.b, c = r.c, d = r.d, items = {} }
  end,
}

local op = { kind = enum { "append", "read", "write", "get", "transfer", "audit", "cycle", "count", "tally",
    "send", "later", "both", "turn", "walk" }, key = text, to = text,
  value = int }
local result = { a = int, b = int, c = int, d = int, items = list(int) }
local work = weir.service "work"

-- The one call of an operation, as a part's last act, and what its answer is in the form of results.
local part = {
  append = function(op) return items(op.key):append(op.value) end,
  read = function(op) return items(op.key):read() end,
  write = function(op) return reg(op.key):write(op.value) end,
  get = function(op) return reg(op.key):get() end,
  transfer = function(op) return account(op.key):transfer(account(op.to), op.value) end,
  audit = function(op) return account(op.key):audit() end,
  cycle = function(op) return account(op.key):cycle(account(op.to), op.value) end,
}
local function result_of(kind, r)
  if kind == "read" then return { a = 0, b = 0, c = 0, d = 0, items = r } end
  if type(r) == "number" then return number(r) end
  if kind == "audit" then return { a = r.a, b = r.b, c = 0, d = 0, items = {} } end
  return { a = r.a, b = r.b, c = r.c, d = r.d, items = {} }
end

-- One after the other, or (every other sixteen values of the first) as parts of weir.all, which must show in nothing.
local function run_all(ops)
  local results, together = {}, math.floor(ops[1].value / 16) % 2 == 0
  for _, one in ipairs(ops) do together = together and part[one.kind] ~= nil end
  if together then
    local answers = weir.all(ops, function(one) return part[one.kind](one) end)
    for i, one in ipairs(ops) do results[i] = result_of(one.kind, answers[i]) end
  else
    for i, one in ipairs(ops) do results[i] = run[one.kind](one) end
  end
  return results
end

-- Read only: answered by what it read.
work:query("look", { list(op) { min = 1, max = 8 }, returns = list(result), allow = "anyone" }, function(self, ops)
  return run_all(ops)
end)

work:on("run", { list(op) { min = 1, max = 8 }, returns = list(result), allow = "anyone" }, function(self, ops)
  return run_all(ops)
end)
