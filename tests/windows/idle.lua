-- Windows whose stream falls silent, for idle_test.lua.
-- SPDX-License-Identifier: MIT
local weir = require "weir"

local seen = weir.stream("seen", { who = weir.text, at = weir.time }, { time = "at", allow = "anyone" })
weir.window("slow", { from = seen, by = "who", size = "10s", late = "5s", idle = "30s", n = weir.count() })
weir.window("quick", { from = seen, by = "who", gap = "10s", idle = "10ms", n = weir.count() })
weir.window("patient", { from = seen, by = "who", size = "10s", correct = "1h", idle = "1s", n = weir.count() })

local rare = weir.stream("rare", { who = weir.text, at = weir.time }, { time = "at", allow = "anyone" })
weir.window("hours", { from = rare, by = "who", size = "1h", idle = "1s", n = weir.count() })
weir.window("pauses", { from = rare, by = "who", gap = "1h", idle = "1s", n = weir.count() })
weir.window("before", { from = rare, by = "who", last = "1h", idle = "1s", n = weir.count() })
