"""`ssl-faces demo`: a local page that compares two faces."""
