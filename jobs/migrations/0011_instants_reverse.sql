-- The functions as they were before this migration.
DROP TRIGGER jobs_follow_periodic_task_gone ON django_celery_beat_periodictask;
DROP FUNCTION jobs_share_rule(django_celery_beat_periodictask);
DROP FUNCTION jobs_end_schedule(bigint);
DROP FUNCTION jobs_deleter();
DROP FUNCTION jobs_end_hold(bigint[], boolean);
DROP FUNCTION jobs_change_rule(bigint[]);
DROP FUNCTION jobs_keep_former(bigint[], timestamptz, text, boolean);
DROP FUNCTION jobs_record_unfired(bigint[], timestamptz);
DROP FUNCTION jobs_changed_in_this_transaction(jobs_schedule);
DROP FUNCTION jobs_has_not_begun(jobs_schedule);
DROP FUNCTION jobs_next_instant(jobs_schedule);
DROP FUNCTION jobs_begin_change(bigint[]);
-- Former versions know of no schedules that are gone.
DELETE FROM jobs_formerschedule f WHERE NOT EXISTS (
    SELECT FROM jobs_schedule s WHERE s.periodic_task_id = f.schedule_id);

CREATE OR REPLACE FUNCTION jobs_hold_schedule_of_paused_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.paused THEN
        UPDATE jobs_schedule SET paused = true, held_why = 'paused' WHERE job_id = NEW.id;
    ELSE
        PERFORM jobs_keep_that_nothing_was_due(ARRAY(SELECT periodic_task_id FROM jobs_schedule WHERE job_id = NEW.id));
        UPDATE jobs_schedule SET paused = false,
            stale = stale OR held_why = '',
            next_fire_at = CASE WHEN held_why <> '' THEN next_fire_at END,
            cursor = CASE WHEN held_why <> '' THEN cursor ELSE clock_timestamp() END,
            held_why = CASE WHEN next_fire_at <= clock_timestamp() OR switched_off THEN held_why ELSE '' END
        WHERE job_id = NEW.id;
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION jobs_tell_unfired(tasks bigint[]) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM jobs_schedule
        WHERE periodic_task_id = ANY(tasks) AND next_fire_at <= clock_timestamp() AND job_id IS NOT NULL) THEN
        RETURN;
    END IF;
    WITH made AS (
        INSERT INTO jobs_run (
            job_id, definition_id, schedule_id, scheduled_for, trigger, requested_by, state, reason, queue, priority,
            run_at, in_process, attempt, handed_back, created_at, finished_at, skipped_until)
        SELECT j.id, d.id, s.periodic_task_id, s.next_fire_at - jobs_jitter(s.periodic_task_id, s.jitter), 'schedule',
            '', 'skipped', CASE WHEN s.held_why = ''
                THEN 'due, but from here on its schedule was changed before a beat fired it'
                ELSE 'due while it was ' || s.held_why || ', and from here on its schedule was changed' END,
            d.content->>'queue', (d.content->>'priority')::smallint, s.next_fire_at,
            (d.content->>'in_process')::boolean, 0, 0, clock_timestamp(), clock_timestamp(), clock_timestamp()
        FROM jobs_schedule s
        JOIN jobs_job j ON j.id = s.job_id
        JOIN jobs_definition d ON d.id = j.definition_id
        WHERE s.periodic_task_id = ANY(tasks) AND s.next_fire_at <= clock_timestamp()
        ON CONFLICT DO NOTHING
        RETURNING id, reason
    )
    INSERT INTO jobs_transition (run_id, at, before, after, reason, attempt, actor)
    SELECT id, clock_timestamp(), NULL, 'skipped', reason, 0, 'schedule' FROM made;
END $$;

CREATE OR REPLACE FUNCTION jobs_keep_former(tasks bigint[]) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    INSERT INTO jobs_formerschedule (schedule_id, until, rule)
    SELECT s.periodic_task_id, clock_timestamp(), jsonb_build_object(
        'crontab', CASE WHEN c.id IS NOT NULL THEN jsonb_build_array(
            c.minute, c.hour, c.day_of_month, c.month_of_year, c.day_of_week, c.timezone) END,
        'interval', CASE WHEN i.id IS NOT NULL THEN jsonb_build_array(i.every, i.period) END,
        'clocked', k.clocked_time,
        'solar', CASE WHEN o.id IS NOT NULL THEN jsonb_build_array(
            o.event, o.latitude::text, o.longitude::text) END,
        'stored', s.timetable,
        'exclusions', s.exclusions,
        'anchor', s.anchor,
        'start_time', t.start_time,
        'expires', t.expires,
        'one_off', t.one_off,
        'unseen', s.stale)
    FROM jobs_schedule s
    JOIN django_celery_beat_periodictask t ON t.id = s.periodic_task_id
    LEFT JOIN django_celery_beat_crontabschedule c ON c.id = t.crontab_id
    LEFT JOIN django_celery_beat_intervalschedule i ON i.id = t.interval_id
    LEFT JOIN django_celery_beat_clockedschedule k ON k.id = t.clocked_id
    LEFT JOIN django_celery_beat_solarschedule o ON o.id = t.solar_id
    WHERE s.periodic_task_id = ANY(tasks) AND s.job_id IS NOT NULL;
END $$;

CREATE OR REPLACE FUNCTION jobs_keep_that_nothing_was_due(tasks bigint[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO jobs_formerschedule (schedule_id, until, rule)
    SELECT periodic_task_id, clock_timestamp(), '{}' FROM jobs_schedule
    WHERE periodic_task_id = ANY(tasks) AND job_id IS NOT NULL AND held_why = ''
$$;

CREATE OR REPLACE FUNCTION jobs_leave_schedule() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM jobs_tell_unfired(ARRAY[OLD.periodic_task_id]::bigint[]);
    DELETE FROM jobs_formerschedule WHERE schedule_id = OLD.periodic_task_id;
    RETURN OLD;
END $$;

CREATE OR REPLACE FUNCTION jobs_follow_periodic_task_made() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    -- A moment that has passed already is due at once, as it is for stock beat.
    begins timestamptz := least(clock_timestamp(), (
        SELECT clocked_time - interval '1 microsecond' FROM django_celery_beat_clockedschedule
        WHERE id = NEW.clocked_id AND NEW.enabled));
BEGIN
    INSERT INTO jobs_schedule (periodic_task_id, cursor, anchor, stale, switched_off)
    VALUES (NEW.id, begins, begins, true, NOT NEW.enabled)
    ON CONFLICT (periodic_task_id) DO NOTHING;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION jobs_follow_periodic_task_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM jobs_schedule WHERE periodic_task_id = OLD.id;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION jobs_follow_periodic_task_timed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM jobs_keep_former(ARRAY[NEW.id]::bigint[]);
    PERFORM jobs_tell_unfired(ARRAY[NEW.id]::bigint[]);
    UPDATE jobs_schedule SET stale = true, next_fire_at = NULL, cursor = clock_timestamp()
    WHERE periodic_task_id = NEW.id;
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION jobs_follow_periodic_task_switched() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT NEW.enabled THEN
        UPDATE jobs_schedule SET switched_off = true, held_why = 'switched off' WHERE periodic_task_id = NEW.id;
    ELSE
        PERFORM jobs_keep_that_nothing_was_due(ARRAY[NEW.id]::bigint[]);
        IF NEW.one_off THEN
            PERFORM jobs_keep_former(ARRAY[NEW.id]::bigint[]);
            PERFORM jobs_tell_unfired(ARRAY[NEW.id]::bigint[]);
        END IF;
        UPDATE jobs_schedule SET switched_off = false,
            stale = stale OR held_why = '' OR NEW.one_off,
            next_fire_at = CASE WHEN held_why <> '' AND NOT NEW.one_off THEN next_fire_at END,
            cursor = CASE WHEN held_why <> '' AND NOT NEW.one_off THEN cursor ELSE clock_timestamp() END,
            held_why = CASE WHEN next_fire_at <= clock_timestamp() OR paused THEN held_why ELSE '' END
        WHERE periodic_task_id = NEW.id;
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION jobs_follow_schedule() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM jobs_keep_former(ARRAY[NEW.periodic_task_id]::bigint[]);
    PERFORM jobs_tell_unfired(ARRAY[NEW.periodic_task_id]::bigint[]);
    NEW.stale := true;
    NEW.next_fire_at := NULL;
    NEW.cursor := clock_timestamp();
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION jobs_give_schedule_to_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.paused := coalesce((SELECT paused FROM jobs_job WHERE id = NEW.job_id), false);
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION jobs_follow_shared_schedule() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    tasks bigint[];
BEGIN
    EXECUTE format('SELECT array_agg(id) FROM django_celery_beat_periodictask WHERE %I = $1', TG_ARGV[0])
    INTO tasks USING NEW.id;
    PERFORM jobs_keep_former(tasks);
    PERFORM jobs_tell_unfired(tasks);
    UPDATE jobs_schedule SET stale = true, next_fire_at = NULL, cursor = clock_timestamp()
    WHERE periodic_task_id = ANY(tasks);
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION jobs_keep_jobs_of_runs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM jobs_run WHERE job_id = OLD.id) THEN
        RAISE foreign_key_violation USING MESSAGE = format('job %s has runs; archive it instead', OLD.id);
    END IF;
    RETURN OLD;
END $$;

CREATE OR REPLACE FUNCTION jobs_rate_step(rate text) RETURNS interval LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN rate <> '' THEN greatest(interval '1 microsecond', CASE split_part(rate, '/', 2)
        WHEN 's' THEN interval '1 second' WHEN 'm' THEN interval '1 minute'
        WHEN 'h' THEN interval '1 hour' WHEN 'd' THEN interval '1 day' END
        / nullif(split_part(rate, '/', 1), '')::double precision) END
$$;

CREATE TRIGGER jobs_follow_periodic_task_gone AFTER DELETE ON django_celery_beat_periodictask
    FOR EACH ROW EXECUTE FUNCTION jobs_follow_periodic_task_gone();
