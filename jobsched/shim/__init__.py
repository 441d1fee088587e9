"""The processes between a worker slot and the work: they fork every run, and no process outlives it.

    slot ── guard ── shim ── the run's process ── whatever that starts
                     (PID 1 of a namespace of its own where possible)

The slot may freeze, crash or lose its database. The shim holds nothing but a deadline, so it can be relied upon
to kill the run's processes when the slot dies or does not renew in time. The guard clears up when the shim cannot.

In a worker that root started, the guard is forked by the launcher and not by the slot, and runs have users of their
own: see `launcher` and `users`.
"""
