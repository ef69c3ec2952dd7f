"""ONE FILE = ONE EXECUTOR: each module here defines EXECUTOR, as scheduler/node/execution.py describes it."""
