"""How gunicorn serves the web process in a container: `gunicorn -c python:config.gunicorn config.wsgi`."""

from __future__ import annotations

# All addresses of the container; the host publishes the port on loopback only.
bind = "0.0.0.0:8000"
# Requests wait on PostgreSQL, so threads are enough; WEB_CONCURRENCY sets the number of processes.
worker_class = "gthread"
threads = 8
timeout = 60
graceful_timeout = 20
# A heartbeat file on a disk can stall for longer than `timeout`; /dev/shm is memory.
worker_tmp_dir = "/dev/shm"  # noqa: S108
# Its socket would be written to a home folder, which the container has read-only.
control_socket_disable = True
# A long-lived process gives back what it leaked; jitter keeps workers from going at the same moment.
max_requests = 10_000
max_requests_jitter = 1_000
