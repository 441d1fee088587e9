"""How gunicorn serves the web process, in containers and in `make up`.

    gunicorn -c python:config.gunicorn config.asgi

What slow clients may take is in config/serving/limits.py.
"""

from __future__ import annotations

from config.dropping import drop_web
from config.serving.worker import BoundedWorker

# All addresses of the container; the host publishes the port on loopback only. `make up` overrides it.
bind = "0.0.0.0:8000"
# WEB_CONCURRENCY sets the number of processes.
worker_class = BoundedWorker
asgi_lifespan = "off"
# For the next request of a connection to arrive.
keepalive = 5
# A process whose event loop stands still for so long is replaced.
timeout = 60
graceful_timeout = 10
# A heartbeat file on a disk can stall for longer than `timeout`; /dev/shm is memory.
worker_tmp_dir = "/dev/shm"  # noqa: S108
# Its socket would be written to a home folder, which the container has read-only.
control_socket_disable = True
# A long-lived process gives back what it leaked; jitter keeps workers from going at the same moment.
max_requests = 10_000
max_requests_jitter = 1_000
# The socket is open by then: root can bind a port below 1024.
when_ready = drop_web
