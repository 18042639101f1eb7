-- The transfers of YCSB-T as stored functions of Tarantool: memtx, each transaction synced to the write-ahead log before it is answered.
-- SPDX-License-Identifier: MIT
local port = os.getenv("PEERS_PORT")
box.cfg {
  wal_mode = "fsync",
  net_msg_max = 8192,          -- the standard of 768 would hold back 64 x 32 requests
  checkpoint_interval = 0,     -- no snapshot in the midst of a run
  log_level = 3,
}
local account = box.schema.space.create("account", { format = { { "id", "string" }, { "balance", "integer" } } })
account:create_index("primary", { type = "hash", parts = { "id" } })

function open(id, balance)
  account:insert { id, balance }
end

function transfer(from, to)
  box.begin()
  local left = account:get(from)[2] - 1
  if left < 0 then
    box.rollback()
    error("check: not enough", 0)
  end
  account:update(from, { { "-", 2, 1 } })
  account:update(to, { { "+", 2, 1 } })
  box.commit()
  return left
end

function balance(id)
  return account:get(id)[2]
end

for _, name in ipairs { "open", "transfer", "balance" } do
  box.schema.func.create(name)
  box.schema.user.grant("guest", "execute", "function", name)
end
box.schema.user.grant("guest", "read,write", "space", "account")
box.cfg { listen = "127.0.0.1:" .. port }   -- last: who connects finds all of it
