"""The scheduler remembers and decides: what nodes offer, which job runs where, and that none is lost or runs twice."""

#: tells this package from others of the same import name; every command checks it (see qualify/doctor.py)
OWNER = "gridmark"
