"""The web process, served by gunicorn: `gunicorn -c python:config.gunicorn config.asgi`."""

from __future__ import annotations

from config.serving.bridge import Bridge
from config.serving.worker import LIMITS
from config.wsgi import application as django

application = Bridge(django, LIMITS)
