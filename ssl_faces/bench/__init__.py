"""`ssl-faces bench`: how fast the workbench is on this machine, measured side by side."""
