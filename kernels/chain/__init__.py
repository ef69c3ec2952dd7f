"""The row-separable exact chain "rsc-1": work whose every row a server without a GPU can redo, bit by bit.

Rounds `X' = Q(X @ W)` on small integers are exact on every device and in every order of summation, and each row of the
result depends on that row alone. So a prover commits to all rows, and a verifier redoes a few that it draws afterwards.
"""
