"""A job: stages of pretraining and the scores of what they made, from one file."""
