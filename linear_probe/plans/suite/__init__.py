"""A suite: every task, encoder, probe and head that a file names, each in a cell of its own."""
