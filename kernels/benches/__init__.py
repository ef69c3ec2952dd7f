"""One file = one benchmark: each module defines one BENCH and is found by a scan of this folder."""
