"""The programs of tests/gpu without a GPU: they compile, they run on a CPU, what they find is read right."""
