"""Experiments that turn settings into records."""
