"""Shared helpers: files, errors, arguments, hardware, secrets."""
