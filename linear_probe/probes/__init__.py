"""Probes: what is fitted on frozen features, with hyper-parameters from the training part only."""
