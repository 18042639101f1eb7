-- tour_sums.lua: a module of tour.lua. SPDX-License-Identifier: MIT
return { plus = function(a, b) return a + b end }
