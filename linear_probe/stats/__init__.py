"""Statistics of scores: intervals, differences, seeds, and parts of the test rows."""
