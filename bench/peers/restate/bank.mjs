// Accounts as virtual objects, transfers as calls to two of them. An account that was never touched holds what PEERS_INITIAL says.
// SPDX-License-Identifier: MIT
import "./with_resolvers.mjs";
import * as restate from "@restatedev/restate-sdk";

const initial = Number(process.env.PEERS_INITIAL);
const options = { journalRetention: 0 };

const account = restate.object({
  name: "account",
  handlers: {
    withdraw: async (ctx, amount) => {
      const balance = (await ctx.get("balance")) ?? initial;
      if (balance < amount) throw new restate.TerminalError("check: not enough");
      ctx.set("balance", balance - amount);
      return balance - amount;
    },
    deposit: async (ctx, amount) => {
      const balance = ((await ctx.get("balance")) ?? initial) + amount;
      ctx.set("balance", balance);
      return balance;
    },
    balance: restate.handlers.object.shared(async (ctx) => (await ctx.get("balance")) ?? initial),
  },
  options,
});

const bank = restate.service({
  name: "bank",
  handlers: {
    transfer: async (ctx, { from, to, amount }) => {
      const left = await ctx.objectClient(account, from).withdraw(amount);
      await ctx.objectClient(account, to).deposit(amount);
      return left;
    },
  },
  options,
});

restate.serve({ services: [account, bank], port: Number(process.env.PEERS_PORT) });
