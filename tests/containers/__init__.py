"""The composed stack as docs/deployment.md describes it, under a Docker engine that these tests start and end.

`make test-containers` runs them. They are no part of `make test`: they need root, and on a new machine minutes to make
the images.
"""
