"""What a worker that serves jobs overrides, whatever the project's settings say."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from celery.signals import celeryd_init

from jobs.celery_settings.problems import CELERYS_CONSUMER, CONSUMER, problems
from jobs.celery_settings.queues import queue_of
from jobs.conf import conf

OVERRIDDEN: Final = {
    "broker_connection_retry": True,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_channel_error_retry": True,
}
"""An outage of the broker ends no worker, however long it is, nor does a channel that RabbitMQ closes."""


@celeryd_init.connect
def keep_promises(instance: Any, options: Mapping[str, Any], **_: Any) -> None:
    """Override or refuse what would break a promise, in a worker that is to serve a queue of jobs.

    Celery has read its settings, and neither applied them nor started anything. Exits with one sentence for each
    setting that is refused.
    """
    app = instance.app
    for name in conf().queues:  # so that `--queues` can name them, also where Celery may create none
        app.amqp.queues.setdefault(name, queue_of(app, name))
    instance.setup_queues(options.get("queues"), options.get("exclude_queues"))  # as Celery does again afterwards
    if not set(conf().queues) & set(app.amqp.queues.consume_from):
        return
    if found := problems(app):
        # Celery logs other exceptions of signals' receivers, and goes on.
        sys.exit("\n".join(problem.sentence for problem in found))
    app.conf.update(OVERRIDDEN)
    if app.conf.worker_consumer == CELERYS_CONSUMER:
        app.conf.worker_consumer = CONSUMER
