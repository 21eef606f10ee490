"""Losses that no library has, one per file."""
