"""What the servers of this package share: requests, uploads, running and stopping."""
