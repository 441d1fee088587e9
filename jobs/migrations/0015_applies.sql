-- As before; a new job has no former definition that could be looked for.
CREATE OR REPLACE FUNCTION jobs_keep_definition() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    described jsonb := jsonb_build_object(
        'kind', NEW.kind,
        'spec', NEW.spec,
        'queue', NEW.queue,
        'priority', NEW.priority,
        'timeout_seconds', extract(epoch FROM NEW.timeout),
        'grace_seconds', extract(epoch FROM NEW.grace),
        'max_wait_seconds', extract(epoch FROM NEW.max_wait),
        'deadline_seconds', extract(epoch FROM NEW.deadline),
        'retries', NEW.retries,
        'on_lost', NEW.on_lost,
        'background', NEW.background,
        'env', NEW.env,
        'params', NEW.params,
        'in_process', NEW.in_process,
        'description', NEW.description,
        'overlap', NEW.overlap,
        'max_running', NEW.max_running,
        'concurrency_key', NEW.concurrency_key,
        'unique_waiting', NEW.unique_waiting,
        'rate', NEW.rate
    );
    latest jobs_definition%ROWTYPE;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        SELECT * INTO latest FROM jobs_definition WHERE job_id = NEW.id ORDER BY version DESC LIMIT 1;
    END IF;
    IF latest.content = described THEN
        NEW.definition_id := latest.id;
    ELSE
        INSERT INTO jobs_definition (job_id, version, content)
        VALUES (NEW.id, coalesce(latest.version, 0) + 1, described)
        RETURNING id INTO NEW.definition_id;
    END IF;
    RETURN NEW;
END $$;

-- As before; only the latest former rule is looked at, which one index gives. Another index, on the moment alone, would
-- be searched where the table has grown since it was analysed.
CREATE OR REPLACE FUNCTION jobs_changed_in_this_transaction(s jobs_schedule) RETURNS boolean LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    latest record;
BEGIN
    IF NOT s.stale THEN
        RETURN false;
    END IF;
    SELECT f.until, f.transaction INTO latest FROM jobs_formerschedule f
    WHERE f.schedule_id = s.periodic_task_id ORDER BY f.until DESC LIMIT 1;
    RETURN FOUND AND latest.until = s.cursor AND latest.transaction = pg_current_xact_id()::text::bigint;
END $$;

-- As before. Who makes many tasks at once makes their rows of jobs_schedule first, and holds the rows of crontabs and
-- the like that they refer to: see jobs/store/publishing.py.
CREATE OR REPLACE FUNCTION jobs_follow_periodic_task_made() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    begins timestamptz;
BEGIN
    PERFORM FROM jobs_schedule WHERE periodic_task_id = NEW.id;
    IF FOUND THEN
        RETURN NULL;
    END IF;
    PERFORM jobs_share_rule(NEW);
    -- A moment that has passed already is due at once, as it is for stock beat.
    begins := least(clock_timestamp(), (
        SELECT clocked_time - interval '1 microsecond' FROM django_celery_beat_clockedschedule
        WHERE id = NEW.clocked_id AND NEW.enabled));
    INSERT INTO jobs_schedule (periodic_task_id, cursor, anchor, stale, switched_off)
    VALUES (NEW.id, begins, begins, true, NOT NEW.enabled)
    ON CONFLICT (periodic_task_id) DO NOTHING;
    RETURN NULL;
END $$;

-- As before. A rule that was changed in this transaction already needs nothing more: who changes many calls
-- jobs_change_rule for all of them first.
CREATE OR REPLACE FUNCTION jobs_follow_periodic_task_timed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.interval_id, OLD.crontab_id, OLD.clocked_id, OLD.solar_id)
        IS DISTINCT FROM (NEW.interval_id, NEW.crontab_id, NEW.clocked_id, NEW.solar_id) THEN
        PERFORM jobs_share_rule(NEW);
    END IF;
    PERFORM FROM jobs_schedule s
    WHERE s.periodic_task_id = NEW.id AND s.next_fire_at IS NULL AND jobs_changed_in_this_transaction(s);
    IF NOT FOUND THEN
        PERFORM jobs_change_rule(ARRAY[NEW.id]::bigint[]);
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION jobs_follow_schedule() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    tasks bigint[] := ARRAY[NEW.periodic_task_id];
    moment timestamptz;
BEGIN
    IF NOT (OLD.stale AND OLD.job_id IS NULL AND NEW.job_id IS NOT NULL)
        AND NOT (OLD.next_fire_at IS NULL AND jobs_changed_in_this_transaction(OLD)) THEN
        moment := jobs_begin_change(tasks);
        IF NOT jobs_changed_in_this_transaction(OLD) THEN
            NEW.cursor := moment;
        END IF;
        PERFORM jobs_keep_former(tasks, moment);
        PERFORM jobs_record_unfired(tasks, moment);
    END IF;
    NEW.stale := true;
    NEW.next_fire_at := NULL;
    RETURN NEW;
END $$;
