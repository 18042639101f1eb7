-- app.lua: what the tests on real files write. `count` counts effects, `last` and `text` are the newest: a lost effect
-- shows in `last`, a doubled one in `count`, a torn one in `text` or in a pair whose halves differ.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text = weir.int, weir.text
local item = weir.entity("item", { count = int, last = int, text = text })

item:on("put", { int, text, returns = int, allow = "anyone" }, function(self, n, body)
  self.count, self.last, self.text = self.count + 1, n, body
  return self.count
end)

-- The same on two entities, on whatever shards, in one transaction.
item:on("both", { item, int, text, returns = int, allow = "anyone" }, function(self, other, n, body)
  self.count, self.last, self.text = self.count + 1, n, body
  return other:put(n, body)
end)
