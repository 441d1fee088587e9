"""The SQL of runs and schedules, and the only writer of Run.state. Called by services, never by views or tasks.

Each function takes `execute`, which runs one statement and returns its rows: a worker slot passes its own
long-lived session, everything else passes `django_connection`, and so takes part in the current transaction.
"""
