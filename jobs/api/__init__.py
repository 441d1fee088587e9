"""REST: parse, call one service verb, present."""
