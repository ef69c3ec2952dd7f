"""The server turns HTTP into calls: the API, the pages, and the client that speaks to them."""

#: tells this package from others of the same import name; every command checks it (see qualify/doctor.py)
OWNER = "gridmark"
