"""Steps of a plan as jobs of a Slurm or Ray cluster.

All machines share the plan's folder. The head, which runs the command, writes an `Order` to the
step's `Seat` there and submits a job. The job starts a `worker`, which takes the seat's lock, runs
the step, ends it if the order says so or another order is in the seat, and writes the result.
So a new head finds what an earlier one has begun, and no step runs twice at once.
"""
