"""Reports: the records of runs, with what was kept beside them, as one page, Markdown or CSV."""
