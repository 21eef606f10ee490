"""What the servers of this package share: requests, uploads, running and stopping."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")
