-- hot.lua: everybody pays into one account. A request ends in the call of it: the last act, after which that account's
-- shard decides; or, to compare, in a call whose answer the payer looks at, after which its own does.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int = weir.int

local account = weir.entity("account", { balance = int { min = 0 } })

account:on("open", { int { min = 0 } }, function(self, balance)
  self.balance = balance
end)

account:on("credit", { int, returns = int }, function(self, amount)
  self.balance = self.balance + amount
  return self.balance
end)

account:on("pay_last", { account, int, returns = int }, function(self, to, amount)
  self.balance = self.balance - amount
  return to:credit(amount)
end)

account:on("pay", { account, int, returns = int }, function(self, to, amount)
  self.balance = self.balance - amount
  local sum = to:credit(amount)
  return sum
end)

account:query("balance", { returns = int }, function(self)
  return self.balance
end)
