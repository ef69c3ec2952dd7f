"""What needs an NVIDIA GPU: `make gpu-test` runs the tests, `make gpu-bench` compares with other ways to measure."""
