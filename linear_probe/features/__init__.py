"""Frozen features: computed once, cached on disk."""
