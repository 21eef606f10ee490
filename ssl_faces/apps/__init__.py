"""Commands that apply encoders and methods to the user's own images and videos."""
