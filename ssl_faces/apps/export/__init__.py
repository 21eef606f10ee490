"""`ssl-faces export`: an encoder as one file that runs without this workbench."""
