"""The server turns HTTP into calls; it has no code yet."""

#: tells this package from others of the same import name; every command checks it (see qualify/doctor.py)
OWNER = "gridmark"
