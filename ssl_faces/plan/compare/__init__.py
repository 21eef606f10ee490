"""`ssl-faces compare`: several methods on the same faces, each run with the same arithmetic."""
