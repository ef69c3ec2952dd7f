"""Programs of others' kinds to compare with, written in our words: they know nothing of gridmark."""
