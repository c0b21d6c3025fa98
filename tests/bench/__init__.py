"""`make bench`: how fast the whole system is on this machine. See __main__.py."""
