"""Our figures on a GPU beside those of the reference methods, how well they repeat, and how long whole profiles take.

`python -m tests.gpu.bench` (make gpu-bench), `python -m tests.gpu.bench.repeat` (make gpu-bench-repeat) and
`python -m tests.gpu.bench.profiles` (make gpu-bench-profiles). Each ends with a table on stdout and keeps its rows in
reports/samples/bench-<gpu>.json; exit codes: 0 every goal reached, 1 one missed, 2 usage, 3 no GPU.
"""
