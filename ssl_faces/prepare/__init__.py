"""`ssl-faces prepare`: photos and videos to packed faces, aligned and linked to clips."""
