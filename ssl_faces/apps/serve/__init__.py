"""`ssl-faces serve`: faces in images by HTTP: codes, verification, expressions, search."""
