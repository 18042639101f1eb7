// The SDK wants Node 22; the one thing of it that it misses on Node 20.
// SPDX-License-Identifier: MIT
Promise.withResolvers ??= function () {
  let resolve, reject;
  const promise = new this((yes, no) => ((resolve = yes), (reject = no)));
  return { promise, resolve, reject };
};
