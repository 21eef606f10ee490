"""What was learnt, put to use on anybody's pictures and videos: the verbs of `ssl-faces`."""
