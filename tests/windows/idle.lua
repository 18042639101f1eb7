-- Windows whose stream falls silent, for idle_test.lua.
-- SPDX-License-Identifier: MIT
local weir = require "weir"

local seen = weir.stream("seen", { who = weir.text, at = weir.time }, { time = "at", allow = "anyone" })
weir.window("slow", { from = seen, by = "who", size = "10s", late = "5s", idle = "30s", n = weir.count() })
weir.window("quick", { from = seen, by = "who", gap = "10s", idle = "10ms", n = weir.count() })
weir.window("patient", { from = seen, by = "who", size = "10s", correct = "1h", idle = "1s", n = weir.count() })
