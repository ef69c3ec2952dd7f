"""What a policy makes of a recorded or generated workload: the very code that places real jobs, on a market of rows."""
