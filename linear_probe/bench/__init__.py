"""Benchmarks that `ssl-faces bench` and `ssl-faces export` run in a process of their own."""
