-- smallbank.lua: SmallBank (Alomari et al., ICDE 2008, and SendPayment as BenchBase adds it): three tables by customer.
-- Amalgamate moves all that the first customer has, so money is conserved. Money is whole cents.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text = weir.int, weir.text

local account  = weir.entity("account", { name = text })
local savings  = weir.entity("savings", { balance = int { min = 0 } })
local checking = weir.entity("checking", { balance = int })    -- below 0 after a check that was not covered

for _, kind in ipairs { savings, checking } do
  kind:on("open", { int }, function(self, balance) self.balance = balance end)
  kind:on("add", { int }, function(self, amount) self.balance = self.balance + amount end)
  kind:on("empty", { returns = int }, function(self)
    local all = self.balance
    self.balance = 0
    return all
  end)
  kind:query("read", { returns = int }, function(self) return self.balance end)
end

checking:on("pay", { int }, function(self, amount)
  if self.balance < amount then weir.fail("insufficient") end
  self.balance = self.balance - amount
end)

account:on("open", { text, int, int }, function(self, name, saved, held)
  self.name = name
  savings(self.key):open(saved)
  checking(self.key):open(held)
end)

account:query("known", {}, function(self)
  if self.name == "" then weir.fail("no_account", self.key) end
end)

account:query("balance", { returns = int }, function(self)
  if self.name == "" then weir.fail("no_account", self.key) end
  return savings(self.key):read() + checking(self.key):read()
end)

account:on("deposit_checking", { int { min = 0 } }, function(self, amount)
  if self.name == "" then weir.fail("no_account", self.key) end
  checking(self.key):add(amount)
end)

account:on("transact_savings", { int }, function(self, amount)
  if self.name == "" then weir.fail("no_account", self.key) end
  savings(self.key):add(amount)               -- below 0 breaks `min`: nothing of the request happens
end)

account:on("write_check", { int { min = 0 }, returns = int }, function(self, amount)
  if self.name == "" then weir.fail("no_account", self.key) end
  local taken = amount
  if savings(self.key):read() + checking(self.key):read() < amount then taken = amount + 100 end
  checking(self.key):add(-taken)
  return taken
end)

account:on("amalgamate", { account, returns = int }, function(self, to)
  if self.name == "" then weir.fail("no_account", self.key) end
  to:known()
  local all = savings(self.key):empty() + checking(self.key):empty()
  checking(to.key):add(all)
  return all
end)

account:on("send_payment", { account, int { min = 0 } }, function(self, to, amount)
  if self.name == "" then weir.fail("no_account", self.key) end
  to:known()
  checking(self.key):pay(amount)
  checking(to.key):add(amount)
end)

-- Snapper's variant: from one to three others in one transaction.
account:on("multi_transfer", { account, account, account, int { min = 0 } }, function(self, a, b, c, amount)
  checking(self.key):pay(3 * amount)
  checking(a.key):add(amount)
  checking(b.key):add(amount)
  checking(c.key):add(amount)
end)
