#!lua name=bank
-- The transfers of YCSB-T for Redis Functions. What a function has written is not taken back, so it looks before it writes.
-- SPDX-License-Identifier: MIT
redis.register_function("open", function(keys, args)
  redis.call("SET", keys[1], args[1])
  return redis.status_reply("OK")
end)

redis.register_function("transfer", function(keys, args)
  local from, to = keys[1], keys[2]
  local balance = tonumber(redis.call("GET", from))
  if balance < 1 then return redis.error_reply("check not enough") end
  redis.call("DECRBY", from, 1)
  redis.call("INCRBY", to, 1)
  return balance - 1
end)

redis.register_function("balance", function(keys, args)
  return tonumber(redis.call("GET", keys[1]))
end)
