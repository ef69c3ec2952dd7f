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
        "aca7fd1968524e4f3e715883eb273c2abc35df84759bdd42da60ceb9a00b9467",
        "2032c1e205f80fddea331013637c94d50b455b88d0200e91ec0d5fe762fe5d3a",
        "478903aaab9dde1b43fc665b7cf6cbf57eb9657cec13b7f6596b5065ecc73d8a",
    ),
    "bf16": (
        "cb3397d0a3e6936c087ecba3a0e4facb94f0c260a4cf5d5219e77ab6a09bc61d",
        "71ce666e3122b821df5c16e033f04898926baa672b27b9cdb5ac1c91be7f77ec",
        "388ea821183c97353d82a69033d032eeeb1f21be71d1dd24dc272f13266b3398",
    ),
    "memory": (
        "7af67e2ad3de023824d46f175df623c46b200aaca93b43a8381f910dac5cd8a9",
        "5d16bfb5bdab0ec875852f9c6c00a3f0b9f3d1c86d7dcfb5d7f92c4ef5c591de",
        "477eb95d3348245866a80e6143e3412fe55b5764668bba9a4d1aa691cac35701",
    ),
}
