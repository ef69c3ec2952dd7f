"""The row-separable exact chain "rsc-1": work whose every row a server without a GPU can redo, bit by bit.

Rounds `X' = Q(X @ W)` on small integers are exact on every device and in every order of summation, and each row of the
result depends on that row alone. So a prover commits to all rows, and a verifier redoes a few that it draws afterwards.

The protocol, all integers little-endian, u32 and u64 by their bytes, || put side by side:

* Secrets of a run: `seed` (32 bytes, one for each device), `challenge` (16), `device` (u32), a `salt` (32) for each
  epoch. who = challenge || device.
* stream(label, index): ChaCha20's key stream (RFC 8439) under the key SHA-256("gridmark rsc1 " || label || 0 || seed)
  and the nonce `index` (96 bits), from block 0 on.
* Tile t, n by n, row by row: stream("tile", t), bytes as int8; in bf16 chains (31 b >> 8) - 15 of each byte b. A memory
  chain's goes through `depth` layers: W = Q8(W @ G, k), G = stream("layer", l) as int8, k the first u32 of
  stream("layer key", l).
* First state of unit u, rows by n: stream("state", u), bytes as int8; in bf16 chains (511 v >> 16) - 255 of each u16 v.
* mix32(x): x ^= x >> 16; x *= 0x7feb352d; x ^= x >> 15; x *= 0x846ca68b; x ^= x >> 16, mod 2^32.
  Q8(y, k): the low byte of mix32(y + k) as int8. Q9(y, k): (511 (mix32(y + k) >> 16) >> 16) - 255.
* Order of segment s: the key stream under SHA-256("gridmark rsc1 segment" || 0 || who || u64 s || root of s - 1 ||
  salt), nonce 0: for each round a u32 word and a u32 key. The root before the first: SHA-256("gridmark rsc1 start" || 0
  || who || seed).
* A round: each row of each state becomes Q(row @ W, key + 0x9e3779b1 (u rows + r)) for row r of unit u, Q9 in bf16
  chains, else Q8. W is tile word * tiles >> 32; in memory chains mix32(h ^ word) * tiles >> 32, h the first u32 of the
  unit's own state.
* Commitment c of unit u, after every `commit_every` rounds: leaf u commits + c of the segment's tree is
  SHA-256(SHA-256("gridmark rsc1 leaf" || 0 || who) || u64 s || u32 u || u32 c || 16 zeros || state), the state row by
  row, int8 or int16; a node is SHA-256(SHA-256("gridmark rsc1 node" || 0 || who) || left || right).
* An opening: the state at the end of a commitment's rounds and the one before them (none where that is the first
  state), each with its path, whose siblings stand bottom up.
"""
