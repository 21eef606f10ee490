"""From frames to videos: one vector a sequence, and what a linear classifier makes of it."""
