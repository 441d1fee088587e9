"""The local stack: real servers and our own processes on this machine, started and stopped by one command.

`python -m jobsched.local up|demo|exec|down` is the command. Tests and benchmarks use the servers alone:

    from jobsched.local.servers import postgres, rabbitmq

    with postgres(folder) as database, rabbitmq(folder) as broker:
        database.url, broker.url          # also .kill(), .stop(), .start(), .restart()
"""
