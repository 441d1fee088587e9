"""A state machine that does to runs, in any order, whatever can be done to them, and says what must hold."""
