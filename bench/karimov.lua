-- karimov.lua: Karimov et al., "Benchmarking Distributed Stream Data Processing Systems", ICDE 2018: purchases of gem packs and
-- advertisements for them. The sum of what each pack earned in windows of 8 s, every 4 s; or purchases that met an
-- advertisement of the same user and pack in such a window. SPDX-License-Identifier: MIT
local weir = require "weir"
local int, text, time = weir.int, weir.text, weir.time

local query = weir.setting("query", text { default = "sum" })

local purchases = weir.stream("purchases", { user = int, pack = text, price = int, at = time }, { key = "pack", time = "at", keep = "1GB" })
local ads = weir.stream("ads", { user = int, pack = text, at = time }, { key = "pack", time = "at", keep = "1GB" })

if query == "sum" then
  weir.window("results", { from = purchases, by = "pack", size = "8s", slide = "4s", keep = "1GB", total = weir.sum "price", n = weir.count() })
else
  weir.join("results", { left = purchases, right = ads, by = { "user", "pack" }, size = "8s", slide = "4s", keep = "1GB" })
end
