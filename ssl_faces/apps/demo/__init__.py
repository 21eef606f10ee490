"""`ssl-faces demo`: a page that compares two faces by what was learnt."""
