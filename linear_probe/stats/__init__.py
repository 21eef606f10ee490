"""Statistics of scores: intervals, paired comparisons, seeds, breakdowns."""
