"""Benchmarks of the probe, of feature extraction and of rendered faces."""
