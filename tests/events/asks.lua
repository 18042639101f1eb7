-- Asks that can never be sent, for asks_test.lua.
-- SPDX-License-Identifier: MIT
local weir = require "weir"
local text = weir.text

local bank = weir.outside("bank", { url = "http://bank" })
local order = weir.entity("order", { told = text })
order:on("ask", { text, weir.bool, returns = text }, function(self, line, with_body)
  self.told = line
  return bank:ask(line, with_body and { amount = 1 } or nil, "answered")
end)
order:on("answered", { weir.answer, returns = text }, function(_, answer) return answer.outcome end)
