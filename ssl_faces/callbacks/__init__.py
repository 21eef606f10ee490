"""Callbacks and loggers of training runs."""
