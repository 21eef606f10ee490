"""`linear-probe claims`: each paper's claim as an experiment, all of them in one table.

A claim pits what a paper proposes against the same without its key idea: both are trained and
scored by every seed, and the gap between their means has a 95 % interval over test rows and seeds.
"""
