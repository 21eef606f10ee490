"""Feature sources: encoders of any kind, and baselines."""
