"""Reports turn measurements into tables, pages and plots."""

#: tells this package from others of the same import name; every command checks it (see qualify/doctor.py)
OWNER = "gridmark"
