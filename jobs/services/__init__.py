"""Use cases, one verb family a file. The only callers of the store; independent of one another."""
