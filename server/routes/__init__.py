"""One module per part of the API; a route parses, calls and translates."""
