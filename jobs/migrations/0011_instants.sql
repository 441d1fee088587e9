-- Instants count by their nominal moment, without jitter: what was due when a schedule is changed, held or deleted is
-- recorded as one skipped run, although its jitter would have fired it later.
--
-- The functions below are in PL/pgSQL, each with one plan for all calls: they are called for every row that is edited,
-- and planning their joins would cost ten times as much as running them.

DROP FUNCTION jobs_tell_unfired(bigint[]);
DROP FUNCTION jobs_keep_former(bigint[]);
DROP FUNCTION jobs_keep_that_nothing_was_due(bigint[]);

-- Begin a change of when schedules fire, and return its moment. Every instant up to this moment belongs to the former
-- rule, every later one to the new rule. The schedules are locked first: a beat that fires them has committed before
-- their rows are read, and finds them changed if it comes later. The clock is read once: an instant between two
-- readings would belong to neither rule.
CREATE FUNCTION jobs_begin_change(tasks bigint[]) RETURNS timestamptz LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    PERFORM FROM jobs_schedule WHERE periodic_task_id = ANY(tasks) ORDER BY periodic_task_id FOR NO KEY UPDATE;
    RETURN clock_timestamp();
END $$;

-- The first instant of a schedule that is not accounted for; `next_fire_at` is when its jitter fires it.
CREATE FUNCTION jobs_next_instant(s jobs_schedule) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
    SELECT s.next_fire_at - jobs_jitter(s.periodic_task_id, s.jitter)
$$;

-- A schedule that was made while it was paused or switched off has no instants before it is resumed.
CREATE FUNCTION jobs_has_not_begun(s jobs_schedule) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT (s.paused OR s.switched_off) AND s.held_why = ''
$$;

-- Whether the rule of a schedule was changed before in this transaction: no beat has seen what it was in between.
CREATE FUNCTION jobs_changed_in_this_transaction(s jobs_schedule) RETURNS boolean LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN s.stale AND EXISTS (
        SELECT FROM jobs_formerschedule f
        WHERE f.schedule_id = s.periodic_task_id AND f.until = s.cursor
            AND f.transaction = pg_current_xact_id()::text::bigint);
END $$;

-- Record what was due by the former rule and has not fired: as one skipped run, from the first such instant to the
-- moment of the change. A skipped run that was recorded ahead of time, to the end of a blackout, ends at that moment.
CREATE FUNCTION jobs_record_unfired(tasks bigint[], moment timestamptz) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM jobs_schedule s
        WHERE s.periodic_task_id = ANY(tasks) AND s.job_id IS NOT NULL
            AND (jobs_next_instant(s) <= moment OR s.cursor > moment)) THEN
        RETURN;
    END IF;
    WITH made AS (
        INSERT INTO jobs_run (
            job_id, definition_id, schedule_id, scheduled_for, trigger, requested_by, state, reason, queue, priority,
            run_at, in_process, attempt, handed_back, created_at, finished_at, skipped_until)
        SELECT j.id, d.id, s.periodic_task_id, jobs_next_instant(s), 'schedule', '', 'skipped',
            CASE WHEN s.held_why = ''
                THEN 'due, but from here on its schedule was changed before a beat fired it'
                ELSE 'due while it was ' || s.held_why || ', and from here on its schedule was changed' END,
            d.content->>'queue', (d.content->>'priority')::smallint, jobs_next_instant(s),
            (d.content->>'in_process')::boolean, 0, 0, moment, moment, moment
        FROM jobs_schedule s
        JOIN jobs_job j ON j.id = s.job_id
        JOIN jobs_definition d ON d.id = j.definition_id
        WHERE s.periodic_task_id = ANY(tasks) AND jobs_next_instant(s) <= moment AND NOT jobs_has_not_begun(s)
        ON CONFLICT DO NOTHING
        RETURNING id, reason
    )
    INSERT INTO jobs_transition (run_id, at, before, after, reason, attempt, actor)
    SELECT id, moment, NULL, 'skipped', reason, 0, 'schedule' FROM made;
    UPDATE jobs_run r SET skipped_until = moment, skipped_count = NULL,
        reason = format('%s; at %s UTC its schedule was changed, and later instants follow the new one',
            r.reason, to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'))
    FROM jobs_schedule s
    WHERE s.periodic_task_id = ANY(tasks) AND s.cursor > moment
        AND r.schedule_id = s.periodic_task_id AND r.state = 'skipped' AND r.scheduled_for <= moment AND r.skipped_until > moment;
END $$;

-- Keep how schedules of jobs read until now. What a beat had not looked at yet is `unrecorded`: a beat works out what was
-- due by it, and records that. `deleter` is who deletes the schedule, or NULL when it goes on.
CREATE FUNCTION jobs_keep_former(tasks bigint[], moment timestamptz, deleter text DEFAULT NULL, outside boolean DEFAULT false)
RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    INSERT INTO jobs_formerschedule (
        schedule_id, job_id, begins, until, rule, unrecorded, transaction, deleted_by, deleted_outside)
    SELECT s.periodic_task_id, s.job_id,
        coalesce((
            SELECT max(f.until) FROM jobs_formerschedule f
            WHERE f.schedule_id = s.periodic_task_id AND f.job_id = s.job_id), s.anchor),
        moment,
        CASE WHEN empty THEN jsonb_build_object('anchor', s.anchor) ELSE jsonb_build_object(
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
            'one_off', t.one_off) END,
        s.stale AND NOT empty, pg_current_xact_id()::text::bigint, deleter, outside
    FROM jobs_schedule s
    CROSS JOIN LATERAL (
        SELECT jobs_changed_in_this_transaction(s) AS again, jobs_has_not_begun(s) AS not_begun) AS q
    CROSS JOIN LATERAL (SELECT q.again OR q.not_begun AS empty) AS e
    JOIN django_celery_beat_periodictask t ON t.id = s.periodic_task_id
    LEFT JOIN django_celery_beat_crontabschedule c ON c.id = t.crontab_id
    LEFT JOIN django_celery_beat_intervalschedule i ON i.id = t.interval_id
    LEFT JOIN django_celery_beat_clockedschedule k ON k.id = t.clocked_id
    LEFT JOIN django_celery_beat_solarschedule o ON o.id = t.solar_id
    WHERE s.periodic_task_id = ANY(tasks) AND s.job_id IS NOT NULL AND (deleter IS NOT NULL OR NOT q.again);
END $$;

-- Change the rule of schedules. Call before the rows that hold the rule are changed.
CREATE FUNCTION jobs_change_rule(tasks bigint[]) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    moment timestamptz := jobs_begin_change(tasks);
    again bigint[] := ARRAY(
        SELECT s.periodic_task_id FROM jobs_schedule s
        WHERE s.periodic_task_id = ANY(tasks) AND jobs_changed_in_this_transaction(s));
BEGIN
    PERFORM jobs_keep_former(tasks, moment);
    PERFORM jobs_record_unfired(tasks, moment);
    UPDATE jobs_schedule s SET stale = true, next_fire_at = NULL,
        cursor = CASE WHEN s.periodic_task_id = ANY(again) THEN s.cursor ELSE moment END
    WHERE s.periodic_task_id = ANY(tasks);
END $$;

-- Let held schedules go on: those of a job that was paused (`of_job`), or those that were switched off. What was due
-- meanwhile is for the catch-up rule. A schedule that was made held begins now.
CREATE FUNCTION jobs_end_hold(tasks bigint[], of_job boolean) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    moment timestamptz := jobs_begin_change(tasks);
    beginning bigint[] := ARRAY(
        SELECT s.periodic_task_id FROM jobs_schedule s
        WHERE s.periodic_task_id = ANY(tasks) AND jobs_has_not_begun(s) AND NOT jobs_changed_in_this_transaction(s));
BEGIN
    PERFORM jobs_keep_former(beginning, moment);
    UPDATE jobs_schedule s SET
        paused = s.paused AND NOT of_job,
        switched_off = s.switched_off AND of_job,
        stale = s.stale OR jobs_has_not_begun(s),
        next_fire_at = CASE WHEN NOT jobs_has_not_begun(s) THEN s.next_fire_at END,
        cursor = CASE WHEN s.periodic_task_id = ANY(beginning) THEN moment ELSE s.cursor END,
        held_until = moment,
        -- Kept while an instant may be without a record, until a beat has decided about it.
        held_why = CASE
            WHEN CASE WHEN of_job THEN s.switched_off ELSE s.paused END
                OR s.stale OR jobs_next_instant(s) <= moment THEN s.held_why
            ELSE '' END
    WHERE s.periodic_task_id = ANY(tasks) AND CASE WHEN of_job THEN s.paused ELSE s.switched_off END;
END $$;

CREATE OR REPLACE FUNCTION jobs_hold_schedule_of_paused_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.paused THEN
        UPDATE jobs_schedule s SET paused = true, held_why = CASE WHEN jobs_has_not_begun(s) THEN '' ELSE 'paused' END
        WHERE job_id = NEW.id;
    ELSE
        PERFORM jobs_end_hold(ARRAY(SELECT periodic_task_id FROM jobs_schedule WHERE job_id = NEW.id), true);
    END IF;
    RETURN NULL;
END $$;

-- Who deletes the schedule of a job: the actor that jobsched names, or NULL for SQL and other programs.
CREATE FUNCTION jobs_deleter() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT nullif(current_setting('jobsched.actor', true), '')
$$;

-- End the schedule of a job, and keep who ended it.
CREATE FUNCTION jobs_end_schedule(task bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    moment timestamptz := jobs_begin_change(ARRAY[task]);
    deleter text := jobs_deleter();
BEGIN
    PERFORM jobs_keep_former(ARRAY[task], moment, coalesce(deleter, format(
        'the database role %s (application %s)', session_user,
        coalesce(nullif(current_setting('application_name'), ''), 'without a name'))), deleter IS NULL);
    PERFORM jobs_record_unfired(ARRAY[task], moment);
END $$;

CREATE OR REPLACE FUNCTION jobs_leave_schedule() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM jobs_end_schedule(OLD.periodic_task_id);
    RETURN OLD;
END $$;

CREATE OR REPLACE FUNCTION jobs_give_schedule_to_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.job_id IS NOT NULL THEN
        PERFORM jobs_end_schedule(OLD.periodic_task_id);
    END IF;
    NEW.paused := coalesce((SELECT paused FROM jobs_job WHERE id = NEW.job_id), false);
    RETURN NEW;
END $$;

-- Former schedules of a job go with it.
CREATE OR REPLACE FUNCTION jobs_keep_jobs_of_runs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM jobs_run WHERE job_id = OLD.id) THEN
        RAISE foreign_key_violation USING MESSAGE = format('job %s has runs; archive it instead', OLD.id);
    END IF;
    DELETE FROM jobs_formerschedule WHERE job_id = OLD.id;
    RETURN OLD;
END $$;

-- A transaction that makes a PeriodicTask refer to a row of crontabs, intervals, clocked or solar schedules waits for one
-- that changes this row, and the other way round: otherwise neither would see what the other does.
CREATE FUNCTION jobs_share_rule(t django_celery_beat_periodictask) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    PERFORM FROM django_celery_beat_crontabschedule WHERE id = t.crontab_id FOR SHARE;
    PERFORM FROM django_celery_beat_intervalschedule WHERE id = t.interval_id FOR SHARE;
    PERFORM FROM django_celery_beat_clockedschedule WHERE id = t.clocked_id FOR SHARE;
    PERFORM FROM django_celery_beat_solarschedule WHERE id = t.solar_id FOR SHARE;
END $$;

CREATE OR REPLACE FUNCTION jobs_follow_periodic_task_made() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    begins timestamptz;
BEGIN
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

-- Before the deletion, so that the former rule can still be read.
CREATE OR REPLACE FUNCTION jobs_follow_periodic_task_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM jobs_schedule WHERE periodic_task_id = OLD.id;
    RETURN OLD;
END $$;

DROP TRIGGER jobs_follow_periodic_task_gone ON django_celery_beat_periodictask;
CREATE TRIGGER jobs_follow_periodic_task_gone BEFORE DELETE ON django_celery_beat_periodictask
    FOR EACH ROW EXECUTE FUNCTION jobs_follow_periodic_task_gone();

-- Before the update, so that the former rule can still be read.
CREATE OR REPLACE FUNCTION jobs_follow_periodic_task_timed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.interval_id, OLD.crontab_id, OLD.clocked_id, OLD.solar_id)
        IS DISTINCT FROM (NEW.interval_id, NEW.crontab_id, NEW.clocked_id, NEW.solar_id) THEN
        PERFORM jobs_share_rule(NEW);
    END IF;
    PERFORM jobs_change_rule(ARRAY[NEW.id]::bigint[]);
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION jobs_follow_periodic_task_switched() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT NEW.enabled THEN
        UPDATE jobs_schedule s SET switched_off = true,
            held_why = CASE WHEN jobs_has_not_begun(s) THEN '' ELSE 'switched off' END
        WHERE periodic_task_id = NEW.id;
    ELSE
        -- A schedule that fires once only starts again.
        IF NEW.one_off THEN
            PERFORM jobs_change_rule(ARRAY[NEW.id]::bigint[]);
        END IF;
        PERFORM jobs_end_hold(ARRAY[NEW.id]::bigint[], false);
    END IF;
    RETURN NULL;
END $$;

-- The same for the columns of jobs_schedule. A schedule that is being given to a job had no instants of this job before.
CREATE OR REPLACE FUNCTION jobs_follow_schedule() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    tasks bigint[] := ARRAY[NEW.periodic_task_id];
    moment timestamptz;
BEGIN
    IF NOT (OLD.stale AND OLD.job_id IS NULL AND NEW.job_id IS NOT NULL) THEN
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

CREATE OR REPLACE FUNCTION jobs_follow_shared_schedule() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    tasks bigint[];
BEGIN
    EXECUTE format('SELECT array_agg(id) FROM django_celery_beat_periodictask WHERE %I = $1', TG_ARGV[0])
    INTO tasks USING NEW.id;
    PERFORM jobs_change_rule(tasks);
    RETURN NEW;
END $$;

-- In seconds: a day of the calendar has 23 or 25 hours where the session's time zone changes its clocks.
CREATE OR REPLACE FUNCTION jobs_rate_step(rate text) RETURNS interval LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN rate <> '' THEN greatest(interval '1 microsecond', CASE split_part(rate, '/', 2)
        WHEN 's' THEN interval '1 second' WHEN 'm' THEN interval '60 seconds'
        WHEN 'h' THEN interval '3600 seconds' WHEN 'd' THEN interval '86400 seconds' END
        / nullif(split_part(rate, '/', 1), '')::double precision) END
$$;
