"""Runs side by side: one page that needs no network, or a workspace in W&B."""
