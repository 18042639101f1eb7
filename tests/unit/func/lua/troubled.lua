-- troubled.lua: what troubled_test.lua finds wrong. SPDX-License-Identifier: MIT
local weir = require "weir"
local bank = weir.outside("bank", { url = weir.setting("bank_url", weir.text { default = "http://bank" }), give_up = "10m" })
local hold = weir.setting("hold", weir.bool { default = false })
local a = weir.entity("a", { n = weir.int { check = function(n) return n < 5 or error "no such n" end }, came = weir.text })

a:on("set", { weir.int }, function(self, n) self.n = n end)
a:on("ask", {}, function(self) bank:ask("POST /x", { n = 1 }, "answer") end)
a:on("answer", { weir.answer }, function(self, answer) self.came = answer.outcome end)
a:query("held", { returns = weir.bool }, function() return hold end)
