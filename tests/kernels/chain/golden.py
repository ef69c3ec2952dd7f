"""Small chains and the roots of their first three segments, as the protocol's text gives them (see plain.py)."""

from __future__ import annotations

from kernels.chain.params import Params

CHAINS = {
    "int8": Params(
        kind="compute", arithmetic="int8", n=64, units=32, rows=1, tiles=5, depth=0, rounds=4, commit_every=4
    ),
    "bf16": Params(
        kind="compute", arithmetic="bf16", n=64, units=32, rows=1, tiles=5, depth=0, rounds=4, commit_every=4
    ),
    "memory": Params(
        kind="memory", arithmetic="int8", n=64, units=4, rows=2, tiles=7, depth=2, rounds=8, commit_every=2
    ),
}
ROOTS = {
    "int8": (
        "440bd3669bf60cbcb3fa9a9e6a8157594e488b816e29de1aada639e90ea0c260",
        "398d7001ae3f5b89dac38722de51868b71bdba1b2ba4b1e3b1455dc269511edd",
        "aa3af97759ec88eb7506a2f275e03ba3bce9cf102b64eecf911448f04ec1ce68",
    ),
    "bf16": (
        "fdaf9bf9a8dfbbc2c2f63f3cb7d5c7c7b53aafe04445d6cabe96b01e816cfd38",
        "46e89da4ce8ac35abf440a3b03c3d665504b40ddf415bd86ffceeab2b0231dc5",
        "1f7b8e61eb535ea144b582cb47521f728cac4c49e1b25ffe9a0b8518ffb75ea3",
    ),
    "memory": (
        "f91ac8bb2d27f14b03e66f12437e1d43ace4f9ecaa807a894b7e4fab7011c1b4",
        "e1431cb46ce4c8dcdcca9adfd33c9c31c73dc4294a98a9aecaa8a0986202acdb",
        "da371797eef1091dab52f8851148b4589a233a121b59bc0f62bb7b0d3077d020",
    ),
}
