"""Sweeps over settings of a run: W&B's own sweep files, run offline by Optuna."""
