"""Records of scores, their predictions, and how a run folder stores them."""
