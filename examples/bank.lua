-- bank.lua: accounts and transfers between them.
--
--   weir run examples/bank.lua
--   curl localhost:8080/account/ann/deposit -d '[100]'
--   curl localhost:8080/account/ann/transfer -d '{"to":"bob","amount":30}'
--   curl localhost:8080/account/bob/balance
--
-- Money is whole cents. SPDX-License-Identifier: MIT
local weir = require "weir"
local int = weir.int

local account = weir.entity("account", { balance = int { min = 0 } })

account:on("deposit", { int { min = 1 }, returns = int }, function(self, amount)
  self.balance = self.balance + amount
  return self.balance
end)

account:on("withdraw", { int { min = 1 }, returns = int }, function(self, amount)
  self.balance = self.balance - amount        -- below 0 breaks `min`: nothing of the request happens
  return self.balance
end)

account:on("transfer", { account, int { min = 1 }, returns = int }, function(self, to, amount)
  self.balance = self.balance - amount
  to:deposit(amount)                          -- the same transaction, on whatever shard `to` lives
  return self.balance
end)

account:query("balance", { returns = int }, function(self)
  return self.balance
end)
