"""Pretraining runs: settings, launch, checkpoints, resume, loggers."""
