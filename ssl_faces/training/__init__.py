"""Pretraining runs: settings, launch, resume, cost."""
