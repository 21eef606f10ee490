"""Face sets, one per file, each on its owner's layout."""
