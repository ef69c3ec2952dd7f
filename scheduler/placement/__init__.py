"""Which node a job goes to: the market's rows as numpy columns, filters, policies, and the reasons."""
