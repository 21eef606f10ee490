"""Losses that FaceCycle needs and no library has; one a file."""
