"""Classification of videos: one vector for each sequence of frames, and a linear probe."""
