"""Why an experiment is over before its end."""

from __future__ import annotations


class Broken(Exception):
    """What an experiment waited for did not come about, or it could not be carried out. One sentence."""
