"""Whoever lists hardware that is not there: every published way to do it, run against our own protocol."""
