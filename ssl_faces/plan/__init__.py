"""Commands that run other commands: jobs, comparisons, sweeps."""
