"""The CPU as a device: topology, pages, pinned threads and the numba loops the benches run."""
