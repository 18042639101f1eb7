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
  local other = to:credit(amount)
  return { a = seq, b = before, c = other.c, d = other.d }
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

local reg = weir.entity("reg", { value = int })

reg:on("write", { int, returns = int, allow = "anyone" }, function(self, value)
  local before = self.value
  self.value = value
  return before
end)

reg:query("get", { returns = int, allow = "anyone" }, function(self)
  return self.value
end)

local run = {
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

local op = { kind = enum { "append", "read", "write", "get", "transfer", "audit", "cycle" }, key = text, to = text,
  value = int }
local result = { a = int, b = int, c = int, d = int, items = list(int) }
local work = weir.service "work"

work:on("run", { list(op) { min = 1, max = 8 }, returns = list(result), allow = "anyone" }, function(self, ops)
  local results = {}
  for i, one in ipairs(ops) do results[i] = run[one.kind](one) end
  return results
end)
