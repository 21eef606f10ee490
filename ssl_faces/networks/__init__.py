"""Networks of the methods."""
