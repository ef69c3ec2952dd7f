"""Kernels put load on hardware and time it; they know no node, score, SQL or HTTP."""

#: tells this package from others of the same import name; every command checks it (see qualify/doctor.py)
OWNER = "gridmark"
