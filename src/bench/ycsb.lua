-- ycsb.lua: the transfers of YCSB-T as Styx measures them: one unit from an account to another, two reads and two
-- writes in one transaction, refused when the first account has nothing left.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int = weir.int

local account = weir.entity("account", { balance = int { min = 0 } })

account:on("open", { int { min = 0 } }, function(self, balance)
  self.balance = balance
end)

account:on("receive", {}, function(self)
  self.balance = self.balance + 1
end)

account:on("transfer", { account, returns = int }, function(self, to)
  to:receive()                                -- the same transaction, on whatever shard `to` lives
  self.balance = self.balance - 1             -- below 0 breaks `min`: nothing of the request happens
  return self.balance
end)

account:query("balance", { returns = int }, function(self)
  return self.balance
end)
