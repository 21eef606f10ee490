"""What every part uses: files, errors, arguments, hardware, secrets."""
