"""The chaos suite: real servers, beats and workers are broken, and what is left is held against the promises."""
