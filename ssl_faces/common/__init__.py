"""Shared helpers: files, errors, arguments, hardware, secrets."""

__version__ = "0.1.0"
