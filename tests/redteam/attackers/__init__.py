"""One file = one attacker, or a small family: each defines `ATTACKS`; test_attackers.py finds and runs them all."""
