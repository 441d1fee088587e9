"""One experiment a module: `worker_kill.py` is `worker-kill`.

Its docstring says what is broken, its NUMBER orders it, and `run(stage)` does it.
"""
