"""Qualify says what a node is, whether it is fit and how good."""

#: tells this package from others of the same import name; every command checks it (see qualify/doctor.py)
OWNER = "gridmark"
