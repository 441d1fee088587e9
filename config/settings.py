"""Settings, read once from the environment. A missing or wrong value stops the process with a sentence.

| variable | meaning | default |
|---|---|---|
| JOBSCHED_DATABASE_URL | PostgreSQL, `postgres://user:password@host:port,host:port/name` | required |
| JOBSCHED_BROKER_URL | RabbitMQ, `amqp://user:password@host:port/vhost`, or `pgmq://…` | required |
| JOBSCHED_SECRET_KEY | Django's secret key, at least 32 characters | required |
| JOBSCHED_ALLOWED_HOSTS | comma-separated host names the web process answers to | 127.0.0.1,localhost |
| JOBSCHED_CSRF_TRUSTED_ORIGINS | comma-separated origins behind a TLS proxy | none |
| JOBSCHED_HTTPS | cookies for TLS only, HSTS, and trust in a proxy's X-Forwarded-Proto | false |
| JOBSCHED_PROXIES | how many proxies before web append a client's address to X-Forwarded-For | 1 with HTTPS, else 0 |
| JOBSCHED_USER | who our processes become when root starts them: an account, or `uid:gid` | jobsched, else nobody |
| JOBSCHED_JOB_UIDS | users for runs of a worker that root starts, one a slot: `first-last`, or `off` | 60800-61055 |
| JOBSCHED_ISOLATION | how runs are kept together: auto, namespace or subreaper (docs/guarantees.md) | auto |
| JOBSCHED_DATA_DIR | folder for run output and workspaces | .jobsched |
| JOBSCHED_QUEUES | the queues that jobs may name, comma-separated | default |
| JOBSCHED_LEASE_SECONDS | how long a claim lasts without a sign of life | 30 |
| JOBSCHED_HEARTBEAT_SECONDS | how often a lease is renewed; at most half of it | a sixth of the lease |
| JOBSCHED_STOP_GRACE_SECONDS | how long a stopping worker lets its runs go on before it ends and hands them back | 15 |
| JOBSCHED_IDLE_CONNECTION_SECONDS | after so long without work a slot closes its database connections; 0: never | 20 |
| JOBSCHED_OUTPUT_LIMIT_BYTES | so much output of one attempt is kept; of more, the beginning and the end | 67108864 |
| JOBSCHED_TASK_EVENTS | workers tell Flower of each run | true |
| JOBSCHED_PREPARED_STATEMENTS | off behind PgBouncer in transaction mode | true |
| JOBSCHED_STATEMENT_TIMEOUT_SECONDS | a statement, except of migrations, may take so long; 0: for ever | 30 |
| JOBSCHED_IDLE_IN_TRANSACTION_SECONDS | a transaction may idle so long; 0: for ever | 60 |
| JOBSCHED_TCP_USER_TIMEOUT_SECONDS | so long may data go unacknowledged | a third of the lease |
| JOBSCHED_BEAT_HEALTH_FILE | a file that a beat renews while it reaches database and broker, for health checks | none |
| JOBSCHED_WORKER_HEALTH_FILE | the same for a worker, while it takes runs; one file for each worker | none |
| JOBSCHED_IMPORTS | comma-separated modules with Celery tasks and callables of yours | none |
| JOBSCHED_CALLABLE_MODULES | comma-separated modules whose functions jobs may call | see docs/django.md |
| JOBSCHED_KEPT_VARIABLES | comma-separated variables that are not hidden from Python and Celery runs | none |
| JOBSCHED_S3_BUCKET | keep long output in this bucket instead of the data folder | none |
| JOBSCHED_S3_ENDPOINT_URL | the address of an S3 server that is not Amazon's | Amazon's |
| JOBSCHED_S3_REGION | the bucket's region | as the credentials say |
| AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY | the bucket's credentials | as boto3 finds them |
| JOBSCHED_LOG_LEVEL | logging level | INFO |

Each secret (the first three variables and the bucket's credentials) can stand in a file instead, which the variable
with `_FILE` at its end names: `JOBSCHED_SECRET_KEY_FILE=/run/secrets/secret-key`.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from environs import Env, EnvError, validate

from config.database import Patience, database
from jobsched.domain.errors import InvalidInput
from jobsched.secretfiles import secret

BASE_DIR = Path(__file__).resolve().parent.parent
NOT_NEGATIVE = validate.Range(min=0, error="a time limit in seconds must not be negative")
env = Env()


def _required(name: str) -> str:
    value = secret(name, os.environ)
    if not value:
        raise InvalidInput(
            f"{name} is not set: set it, or name a file that holds it in {name}_FILE (see config/settings.py); "
            "`make up` does it for you."
        )
    return value


def _seconds_or(name: str, default: float) -> float:
    """Return a variable that may be set and empty, as docker-compose.yml passes it on."""
    return env.float(name, validate=NOT_NEGATIVE) if env.str(name, "") else default


try:
    DATABASE_URL = _required("JOBSCHED_DATABASE_URL")
    BROKER_URL = _required("JOBSCHED_BROKER_URL")
    SECRET_KEY = _required("JOBSCHED_SECRET_KEY")
    S3_CREDENTIALS = {
        option: value
        for option, name in (("access_key", "AWS_ACCESS_KEY_ID"), ("secret_key", "AWS_SECRET_ACCESS_KEY"))
        if (value := secret(name, os.environ))
    }
except InvalidInput as error:
    raise ImproperlyConfigured(str(error)) from None

try:
    with env.prefixed("JOBSCHED_"):
        ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", ["127.0.0.1", "localhost"])
        CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", [])
        HTTPS = env.bool("HTTPS", False)
        IMPORTS: tuple[str, ...] = tuple(env.list("IMPORTS", []))
        DATA_DIR = Path(env.str("DATA_DIR", str(BASE_DIR / ".jobsched"))).resolve()
        LOG_LEVEL = env.log_level("LOG_LEVEL", logging.INFO)
        LEASE_SECONDS = env.float("LEASE_SECONDS", 30.0)
        JOBSCHED = {
            "QUEUES": tuple(env.list("QUEUES", ["default"])),
            "LEASE_SECONDS": LEASE_SECONDS,
            "HEARTBEAT_SECONDS": _seconds_or("HEARTBEAT_SECONDS", LEASE_SECONDS / 6),
            "STOP_GRACE_SECONDS": env.float("STOP_GRACE_SECONDS", 15.0),
            "IDLE_CONNECTION_SECONDS": env.float("IDLE_CONNECTION_SECONDS", 20.0),
            "OUTPUT_LIMIT_BYTES": env.int("OUTPUT_LIMIT_BYTES", 64 * 1024 * 1024),
            "TASK_EVENTS": env.bool("TASK_EVENTS", True),
            "PREPARED_STATEMENTS": env.bool("PREPARED_STATEMENTS", True),
            "PROXIES": env.int("PROXIES") if env.str("PROXIES", "") else int(HTTPS),
            "BEAT_HEALTH_FILE": env.str("BEAT_HEALTH_FILE", ""),
            "WORKER_HEALTH_FILE": env.str("WORKER_HEALTH_FILE", ""),
            "CALLABLE_MODULES": env.list("CALLABLE_MODULES", []) or None,
            "KEPT_VARIABLES": env.list("KEPT_VARIABLES", []),
            "DATA_DIR": DATA_DIR,
            "WORKSPACE_DIR": DATA_DIR / "workspaces",
        }
        PATIENCE = Patience(
            statement=env.float("STATEMENT_TIMEOUT_SECONDS", 30.0, validate=NOT_NEGATIVE),
            idle_in_transaction=env.float("IDLE_IN_TRANSACTION_SECONDS", 60.0, validate=NOT_NEGATIVE),
            # A renewal on a dead connection, and one on a new connection, must both fit into a lease.
            acknowledgement=_seconds_or("TCP_USER_TIMEOUT_SECONDS", LEASE_SECONDS / 3),
            connect=min(5.0, LEASE_SECONDS / 15),
        )
except EnvError as error:
    raise ImproperlyConfigured(
        f"{error} — set it in the environment (see config/settings.py), or use `make up`, which does."
    ) from error

if len(SECRET_KEY) < 32:
    raise ImproperlyConfigured("JOBSCHED_SECRET_KEY is shorter than 32 characters; generate a longer one.")

try:
    DATABASES = {
        "default": database(
            DATABASE_URL,
            patience=PATIENCE,
            own_sessions=bool(JOBSCHED["PREPARED_STATEMENTS"]),
            migrating="migrate" in sys.argv[1:2],
        )
    }
except ValueError as error:
    # Without its cause, which may show the address and with it the password.
    raise ImproperlyConfigured(f"JOBSCHED_DATABASE_URL {error}") from None

DEBUG = False

INSTALLED_APPS = [
    "django.contrib.admin.apps.SimpleAdminConfig",  # beats and workers have no use for it: see urls.py
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "rest_framework",
    "knox",
    "django_celery_beat",
    "jobs",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "jobs.storable_requests.StorableRequestMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "jobs.signin.TooManyFailuresMiddleware",
]

# Where a sign-in or sign-out leads whose `next` names no page of this site.
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
LOGOUT_REDIRECT_URL = "admin:login"

AUTHENTICATION_BACKENDS = ["jobs.signin.ThrottleBackend", "django.contrib.auth.backends.ModelBackend"]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

LANGUAGE_CODE = "en-us"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
STORAGES: dict[str, dict[str, object]] = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}
# Without a bucket, output is kept in the folder "output" of DATA_DIR: see jobs/output_storage.py.
if S3_BUCKET := env.str("JOBSCHED_S3_BUCKET", ""):
    STORAGES["jobsched"] = {
        "BACKEND": "config.bucket.BucketStorage",
        "OPTIONS": {
            "bucket_name": S3_BUCKET,
            "endpoint_url": env.str("JOBSCHED_S3_ENDPOINT_URL", "") or None,
            "region_name": env.str("JOBSCHED_S3_REGION", "") or None,
            "location": "output",
            **S3_CREDENTIALS,
        },
    }
# Admin pages carry few static files; finding them in the packages spares users a collectstatic.
WHITENOISE_USE_FINDERS = True

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_HSTS_SECONDS = 31536000 if HTTPS else 0
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
X_FRAME_OPTIONS = "DENY"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["knox.auth.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.DjangoModelPermissions"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "EXCEPTION_HANDLER": "jobs.api.errors.explain",
}
REST_KNOX = {"TOKEN_TTL": None}

CELERY_BROKER_URL = BROKER_URL
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_HEARTBEAT = 15
# A channel that RabbitMQ closes is opened again; otherwise its worker ends.
CELERY_BROKER_CHANNEL_ERROR_RETRY = True
CELERY_BROKER_CONNECTION_TIMEOUT = 1.5
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "confirm_publish": True,
    # A broker in alarm, or beyond a cut wire, says nothing. Whoever waits for it, for a confirm too, gives up then.
    "read_timeout": 5.0,
    "write_timeout": 5.0,
    # A publish to a broker that is away fails at once: the run is in the database and the sweep sends a new hint.
    "max_retries": 1,
    "interval_start": 0.1,
    "interval_step": 0.1,
    "interval_max": 0.2,
}
if BROKER_URL.startswith("pgmq://"):
    # PostgreSQL carries the messages: no extension to install, and a message is noticed by NOTIFY.
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "init_extension": False,
        "use_notify": True,
        "wait_time_seconds": 0,
        "polling_interval": 1,
        "notify_throttle_interval_ms": 0,
    }
CELERY_IMPORTS = IMPORTS
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SERIALIZER = "json"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ACKS_LATE = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# Hints stay out of Flower; runs send events of their own (jobs/services/running/events.py).
CELERY_TASK_SEND_SENT_EVENT = False
CELERY_WORKER_SEND_TASK_EVENTS = JOBSCHED["TASK_EVENTS"]
CELERY_TIMEZONE = "UTC"
CELERY_ENABLE_UTC = True
CELERY_BEAT_SCHEDULER = "jobs.beat:JobScheduler"
CELERY_BEAT_MAX_LOOP_INTERVAL = 1.0
CELERY_WORKER_CONSUMER = "jobs.consumer:PromptConsumer"
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": sys.stderr}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        # Hints come and go by the hundred; runs have log lines of their own.
        "celery.app.trace": {"level": "WARNING"},
        "celery.worker.strategy": {"level": "WARNING"},
    },
}
