# The part of bitcoin-node's Cap'n Proto interface that a watcher calls.
#
# On the wire an interface is its id and a method its ordinal, so both are those of Bitcoin Core (v29 to v31.99), where
# ids follow from file and name; here they are written out. Structs have no id on the wire, but the same layout.
# Methods that stand here only to keep the ordinals begin with `unused`. To compare with Bitcoin Core's own files:
# `capnp compile -ocapnp`.

@0xf29ecaf0a1cd7785;

# Where a connection begins.
interface Init @0x8838c700ba5cba65 {
  construct @0 (threadMap :ThreadMap) -> (threadMap :ThreadMap);
  unusedEcho @1 () -> ();
  # v29 and v30; later versions answer it with an error.
  makeMiningOld @2 (context :Context) -> (result :Mining);
  # From v31 on.
  makeMining @3 (context :Context) -> (result :Mining);
  # After v31 (31.99).
  makeRpc @4 (context :Context) -> (result :Rpc);
}

# Makes the server's threads: each call runs on one that its caller names.
interface ThreadMap @0xee5e37179ad9dc9d {
  makeThread @0 (name :Text) -> (result :Thread);
}

# One thread of the server; it runs one call at a time.
interface Thread @0x81c1e2600d0b56c5 {
  unusedGetName @0 () -> ();
}

# Goes with each call that needs a thread.
struct Context {
  thread @0 :Thread;
  # For calls back to us; there are none.
  callbackThread @1 :Thread;
}

# A block: its hash in the order of the block header's bytes, and its height.
struct BlockRef {
  hash @0 :Data;
  height @1 :Int32;
}

interface Mining @0xf9c68436df3af39e {
  unusedIsTestChain @0 () -> ();
  isInitialBlockDownload @1 (context :Context) -> (result :Bool);
  getTip @2 (context :Context) -> (result :BlockRef, hasResult :Bool);
  # Answers when the tip is not `currentTip`, or after `timeout` milliseconds with the tip there is. Without a tip (the
  # node shuts down, or another client interrupted) there is no result.
  # The timeout is a Float64 there; its default is the greatest one from v31 on, and zero before. On the wire a value
  # is exclusive-or'ed with its default, so here are its bits, and the caller does that.
  waitTipChanged @3 (context :Context, currentTip :Data, timeout :UInt64) -> (result :BlockRef);
}

interface Rpc @0xacb1d37f0a713129 {
  # JSON-RPC: `request` and `result` are JSON. `user` is whoever the caller says, for -rpcwhitelist.
  executeRpc @0 (context :Context, request :Text, uri :Text, user :Text) -> (result :Text);
}
