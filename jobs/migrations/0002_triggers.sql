INSERT INTO jobs_project (name) VALUES ('default') ON CONFLICT DO NOTHING;

-- Every change of a job keeps the former definition, whoever makes it: admin, ORM, bulk update or plain SQL.
CREATE FUNCTION jobs_keep_definition() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    described jsonb := jsonb_build_object(
        'kind', NEW.kind,
        'spec', NEW.spec,
        'queue', NEW.queue,
        'priority', NEW.priority,
        'timeout_seconds', extract(epoch FROM NEW.timeout),
        'grace_seconds', extract(epoch FROM NEW.grace),
        'retries', NEW.retries,
        'on_lost', NEW.on_lost,
        'env', NEW.env,
        'params', NEW.params,
        'in_process', NEW.in_process,
        'description', NEW.description
    );
    latest jobs_definition%ROWTYPE;
BEGIN
    SELECT * INTO latest FROM jobs_definition WHERE job_id = NEW.id ORDER BY version DESC LIMIT 1;
    IF FOUND AND latest.content = described THEN
        NEW.definition_id := latest.id;
    ELSE
        INSERT INTO jobs_definition (job_id, version, content)
        VALUES (NEW.id, coalesce(latest.version, 0) + 1, described)
        RETURNING id INTO NEW.definition_id;
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER jobs_keep_definition BEFORE INSERT OR UPDATE ON jobs_job
    FOR EACH ROW EXECUTE FUNCTION jobs_keep_definition();

-- Runs name their job without a foreign key, which would lock the job's row for each of them.
CREATE FUNCTION jobs_keep_jobs_of_runs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM jobs_run WHERE job_id = OLD.id) THEN
        RAISE foreign_key_violation USING MESSAGE = format('job %s has runs; archive it instead', OLD.id);
    END IF;
    RETURN OLD;
END $$;

CREATE TRIGGER jobs_keep_jobs_of_runs BEFORE DELETE ON jobs_job
    FOR EACH ROW EXECUTE FUNCTION jobs_keep_jobs_of_runs();

-- A change of a schedule begins a new count of instants. What was due before it and not fired yet must not vanish:
-- it becomes one skipped run that says so.
CREATE FUNCTION jobs_tell_unfired(tasks bigint[]) RETURNS void LANGUAGE sql AS $$
    WITH made AS (
        INSERT INTO jobs_run (
            job_id, definition_id, schedule_id, scheduled_for, trigger, requested_by, state, reason, queue, priority,
            run_at, in_process, attempt, handed_back, created_at, finished_at)
        SELECT j.id, d.id, s.periodic_task_id, s.next_fire_at, 'schedule', '', 'skipped',
            'due, but from here on its schedule was changed before a beat fired it', d.content->>'queue',
            (d.content->>'priority')::smallint, s.next_fire_at, (d.content->>'in_process')::boolean, 0, 0,
            clock_timestamp(), clock_timestamp()
        FROM jobs_schedule s
        JOIN jobs_job j ON j.id = s.job_id
        JOIN jobs_definition d ON d.id = j.definition_id
        WHERE s.periodic_task_id = ANY(tasks) AND s.next_fire_at <= clock_timestamp()
        ON CONFLICT (schedule_id, scheduled_for) WHERE schedule_id IS NOT NULL DO NOTHING
        RETURNING id, reason
    )
    INSERT INTO jobs_transition (run_id, at, before, after, reason, attempt, actor)
    SELECT id, clock_timestamp(), NULL, 'skipped', reason, 0, 'schedule' FROM made
$$;

CREATE FUNCTION jobs_leave_schedule() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM jobs_tell_unfired(ARRAY[OLD.periodic_task_id]::bigint[]);
    RETURN OLD;
END $$;

CREATE TRIGGER jobs_leave_schedule BEFORE DELETE ON jobs_schedule
    FOR EACH ROW EXECUTE FUNCTION jobs_leave_schedule();

-- Each PeriodicTask has our row beside it; a change of when it fires makes that row stale from this moment on.
CREATE FUNCTION jobs_follow_periodic_task() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO jobs_schedule (periodic_task_id, cursor, anchor, stale)
        VALUES (NEW.id, clock_timestamp(), clock_timestamp(), true)
        ON CONFLICT (periodic_task_id) DO NOTHING;
    ELSIF TG_OP = 'UPDATE' THEN
        PERFORM jobs_tell_unfired(ARRAY[NEW.id]::bigint[]);
        UPDATE jobs_schedule SET stale = true, next_fire_at = NULL, cursor = clock_timestamp()
        WHERE periodic_task_id = NEW.id;
    ELSE
        DELETE FROM jobs_schedule WHERE periodic_task_id = OLD.id;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER jobs_follow_periodic_task_made AFTER INSERT ON django_celery_beat_periodictask
    FOR EACH ROW EXECUTE FUNCTION jobs_follow_periodic_task();
CREATE TRIGGER jobs_follow_periodic_task_gone AFTER DELETE ON django_celery_beat_periodictask
    FOR EACH ROW EXECUTE FUNCTION jobs_follow_periodic_task();
CREATE TRIGGER jobs_follow_periodic_task_changed AFTER UPDATE ON django_celery_beat_periodictask
    FOR EACH ROW
    WHEN ((OLD.enabled, OLD.one_off, OLD.start_time, OLD.expires,
           OLD.interval_id, OLD.crontab_id, OLD.clocked_id, OLD.solar_id)
          IS DISTINCT FROM
          (NEW.enabled, NEW.one_off, NEW.start_time, NEW.expires,
           NEW.interval_id, NEW.crontab_id, NEW.clocked_id, NEW.solar_id))
    EXECUTE FUNCTION jobs_follow_periodic_task();

-- Schedules of django-celery-beat are shared by the tasks that name them.
CREATE FUNCTION jobs_follow_shared_schedule() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'SELECT jobs_tell_unfired(array_agg(id)) FROM django_celery_beat_periodictask WHERE %I = $1', TG_ARGV[0])
    USING NEW.id;
    EXECUTE format(
        'UPDATE jobs_schedule s SET stale = true, next_fire_at = NULL, cursor = clock_timestamp()
         FROM django_celery_beat_periodictask t WHERE t.id = s.periodic_task_id AND t.%I = $1', TG_ARGV[0])
    USING NEW.id;
    RETURN NULL;
END $$;

CREATE TRIGGER jobs_follow_crontab AFTER UPDATE ON django_celery_beat_crontabschedule
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION jobs_follow_shared_schedule('crontab_id');
CREATE TRIGGER jobs_follow_interval AFTER UPDATE ON django_celery_beat_intervalschedule
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION jobs_follow_shared_schedule('interval_id');
CREATE TRIGGER jobs_follow_clocked AFTER UPDATE ON django_celery_beat_clockedschedule
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION jobs_follow_shared_schedule('clocked_id');
CREATE TRIGGER jobs_follow_solar AFTER UPDATE ON django_celery_beat_solarschedule
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION jobs_follow_shared_schedule('solar_id');

-- Tasks that were there before us.
INSERT INTO jobs_schedule (periodic_task_id, cursor, anchor, stale)
SELECT id, clock_timestamp(), clock_timestamp(), true FROM django_celery_beat_periodictask
ON CONFLICT (periodic_task_id) DO NOTHING;
-- What was just inserted is checked now: a table with checks outstanding cannot be altered.
SET CONSTRAINTS ALL IMMEDIATE;

-- Room on each page for HOT updates, and vacuum by rows touched rather than by the size of the table.
ALTER TABLE jobs_run SET (
    fillfactor = 70, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE jobs_schedule SET (
    fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
ALTER TABLE jobs_outputchunk SET (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);
