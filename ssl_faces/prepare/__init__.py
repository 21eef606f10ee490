"""`ssl-faces prepare`: from anybody's photos and videos to packed faces, aligned, and in clips."""
