"""A decision for every setting that Celery has. A test fails for a setting of a later Celery that is not here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Handling(StrEnum):
    """What is done about a setting."""

    OVERRIDDEN = "overridden"
    """It has an effect on Celery's tasks, and none on hints and on workers that serve jobs."""
    REFUSED = "refused"
    """Some of its values break a promise. Check, doctor, workers and beats refuse these."""
    HARMLESS = "harmless"
    """None of its values breaks a promise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What is done about some settings, and why."""

    handling: Handling
    why: str
    settings: frozenset[str]


def _decision(handling: Handling, why: str, settings: str) -> Decision:
    return Decision(handling=handling, why=why, settings=frozenset(settings.split()))


DECISIONS: Final = (
    _decision(
        Handling.OVERRIDDEN,
        "Time limits would end the slot that performs runs. Hints have none; runs have those of their job.",
        "task_time_limit task_soft_time_limit",
    ),
    _decision(
        Handling.OVERRIDDEN,
        "A late acknowledgement, a requeue or a retry of Celery's would deliver hints twice. Hints are acknowledged "
        "when a slot takes them.",
        "task_acks_late task_acks_on_failure_or_timeout task_acks_on_failure task_acks_on_timeout "
        "task_reject_on_worker_lost task_retry_on_worker_lost worker_cancel_long_running_tasks_on_connection_loss "
        "worker_deduplicate_successful_tasks",
    ),
    _decision(
        Handling.OVERRIDDEN,
        "A rate limit would let queued runs wait beside idle slots. Hints have none; jobs and queues have rates.",
        "task_default_rate_limit worker_disable_rate_limits",
    ),
    _decision(
        Handling.OVERRIDDEN,
        "Annotations change attributes of all tasks, limits among them. None is applied to hints.",
        "task_annotations",
    ),
    _decision(
        Handling.OVERRIDDEN,
        "A hint is always JSON of the second protocol, without compression, transient and without a priority.",
        "task_serializer task_compression task_protocol task_default_delivery_mode task_default_priority "
        "task_inherit_parent_priority task_repr_maxlevels",
    ),
    _decision(
        Handling.OVERRIDDEN,
        "A hint goes to the queue of its name by the broker's default exchange, whatever tasks are routed by.",
        "task_routes task_default_exchange task_default_exchange_type task_default_routing_key task_default_queue "
        "task_publish_retry task_publish_retry_policy",
    ),
    _decision(
        Handling.OVERRIDDEN,
        "Nothing is stored or sent about hints: runs have a record and events of their own.",
        "task_ignore_result task_store_errors_even_if_ignored task_store_eager_result task_track_started "
        "task_send_sent_event",
    ),
    _decision(
        Handling.OVERRIDDEN,
        "Workers can serve the queues of jobs also where Celery may not create queues.",
        "task_create_missing_queues",
    ),
    _decision(
        Handling.OVERRIDDEN,
        "A worker that serves jobs connects to its broker again and again, however long an outage is.",
        "broker_connection_retry broker_connection_retry_on_startup broker_connection_max_retries "
        "broker_channel_error_retry",
    ),
    _decision(
        Handling.REFUSED,
        "Another consumer than ours ends at malformed messages. Celery's own is replaced by ours; another one must be "
        "derived from it.",
        "worker_consumer",
    ),
    _decision(Handling.REFUSED, "Eager tasks would be performed by beats.", "task_always_eager"),
    _decision(
        Handling.REFUSED,
        "Without JSON workers reject every hint; with pickle whoever writes to the broker executes code in them.",
        "accept_content",
    ),
    _decision(Handling.REFUSED, "With 0 a busy worker fetches hints without end.", "worker_prefetch_multiplier"),
    _decision(
        Handling.REFUSED,
        "Only RabbitMQ and PostgreSQL (pgmq) carry hints.",
        "broker_url broker_read_url broker_write_url broker_transport",
    ),
    _decision(Handling.REFUSED, "A queue of jobs that is an alias of another receives no hints.", "task_queues"),
    _decision(Handling.REFUSED, "Slots are processes that a worker forks.", "worker_pool worker_pool_start_method"),
    _decision(
        Handling.REFUSED,
        "A beat with another scheduler fires no jobs. The check says so; a beat may still be given it by `-S`.",
        "beat_scheduler",
    ),
    _decision(
        Handling.HARMLESS,
        "Where the broker is, and how long a connection takes: waits for it are bounded by us.",
        "broker_host broker_port broker_user broker_password broker_vhost broker_login_method broker_use_ssl "
        "broker_transport_options broker_connection_timeout broker_failover_strategy broker_heartbeat "
        "broker_heartbeat_checkrate broker_pool_limit broker_pool_acquire_timeout",
    ),
    _decision(
        Handling.HARMLESS,
        "Which kind of queue is declared: hints expire, and are taken from any.",
        "task_default_queue_type task_create_missing_queue_type task_create_missing_queue_exchange_type "
        "task_queue_max_priority worker_detect_quorum_queues worker_direct broker_native_delayed_delivery_queue_type",
    ),
    _decision(
        Handling.HARMLESS,
        "How many slots a worker has and when one is replaced: never while it performs a run.",
        "worker_concurrency worker_autoscaler worker_max_tasks_per_child worker_max_memory_per_child "
        "worker_pool_putlocks worker_pool_restarts worker_proc_alive_timeout worker_lost_wait worker_agent",
    ),
    _decision(
        Handling.HARMLESS,
        "How a worker fetches messages: those that it holds are acknowledged after 30 seconds, and others are sent.",
        "worker_eta_task_limit worker_enable_prefetch_count_reduction worker_disable_prefetch worker_timer "
        "worker_timer_precision",
    ),
    _decision(
        Handling.HARMLESS,
        "How a worker stops: runs that it cannot finish are handed back, or found by a beat.",
        "worker_soft_shutdown_timeout worker_enable_soft_shutdown_on_idle worker_state_db",
    ),
    _decision(
        Handling.HARMLESS,
        "Remote control and events: a cancel that is not heard takes effect at the next heartbeat.",
        "worker_enable_remote_control worker_send_task_events control_queue_ttl control_queue_expires "
        "control_queue_exclusive control_queue_durable control_exchange event_queue_expires event_queue_ttl "
        "event_queue_prefix event_queue_exclusive event_queue_durable event_serializer event_exchange "
        "beat_enable_remote_control beat_remote_control_max_tick_age",
    ),
    _decision(
        Handling.HARMLESS,
        "What is logged, and how.",
        "worker_hijack_root_logger worker_log_color worker_log_datefmt worker_log_format worker_task_log_datefmt "
        "worker_task_log_format worker_redirect_stdouts worker_redirect_stdouts_level task_remote_tracebacks",
    ),
    _decision(
        Handling.HARMLESS,
        "Time zones: schedules have theirs, and instants are counted in UTC.",
        "timezone enable_utc",
    ),
    _decision(
        Handling.HARMLESS,
        "Schedules are in the database: entries of the configuration become rows, and a long pause is shortened.",
        "beat_max_loop_interval beat_schedule beat_schedule_filename beat_sync_every beat_cron_starting_deadline",
    ),
    _decision(Handling.HARMLESS, "Which modules are imported: their tasks may be jobs.", "imports include"),
    _decision(
        Handling.HARMLESS,
        "Tasks of a project that call each other.",
        "task_eager_propagates task_allow_error_cb_on_chord_header",
    ),
    _decision(
        Handling.HARMLESS,
        "Signed messages: hints are JSON, and accept_content is looked at.",
        "security_certificate security_cert_store security_key security_key_password security_digest",
    ),
    _decision(
        Handling.HARMLESS,
        "Results of tasks: hints have none, and results of runs are in the database.",
        "result_accept_content result_backend result_cache_max result_compression result_exchange "
        "result_exchange_type result_expires result_chord_expires result_failure_expires result_persistent "
        "result_extended result_serializer result_backend_transport_options result_chord_retry_interval "
        "result_chord_join_timeout result_backend_max_sleep_between_retries_ms result_backend_max_retries "
        "result_backend_base_sleep_between_retries_ms result_backend_always_retry cache_backend cache_backend_options "
        "cassandra_entry_ttl cassandra_keyspace cassandra_port cassandra_read_consistency cassandra_servers "
        "cassandra_bundle_path cassandra_table cassandra_write_consistency cassandra_auth_provider "
        "cassandra_auth_kwargs cassandra_options s3_access_key_id s3_secret_access_key s3_bucket s3_base_path "
        "s3_endpoint_url s3_region azureblockblob_container_name azureblockblob_retry_initial_backoff_sec "
        "azureblockblob_retry_increment_base azureblockblob_retry_max_attempts azureblockblob_base_path "
        "azureblockblob_connection_timeout azureblockblob_read_timeout gcs_bucket gcs_project gcs_base_path gcs_ttl "
        "couchbase_backend_settings arangodb_backend_settings mongodb_backend_settings cosmosdbsql_database_name "
        "cosmosdbsql_collection_name cosmosdbsql_consistency_level cosmosdbsql_max_retry_attempts "
        "cosmosdbsql_max_retry_wait_time redis_backend_use_ssl redis_db redis_host redis_max_connections "
        "redis_username redis_password redis_port redis_socket_timeout redis_socket_connect_timeout "
        "redis_retry_on_timeout redis_socket_keepalive elasticsearch_retry_on_timeout elasticsearch_max_retries "
        "elasticsearch_timeout elasticsearch_save_meta_as_text database_url database_engine_options "
        "database_engine_callback database_short_lived_sessions database_table_schemas database_table_names "
        "database_create_tables_at_setup",
    ),
)
