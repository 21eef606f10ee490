"""Reports made from records: tables in all forms, the HTML page, plots, and archives."""
