"""All that outlives the process: the SQLite database (one writer, many readers) and the files beside it."""
