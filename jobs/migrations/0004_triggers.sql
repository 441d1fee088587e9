-- All that the database keeps true by itself, as it stands from this migration on.

-- Schedules that were there before: what is held from the start, and the phase of intervals that stock beat kept.
UPDATE jobs_schedule s SET switched_off = NOT t.enabled, paused = coalesce(j.paused, false),
    held_why = CASE WHEN j.paused THEN 'paused' ELSE '' END, stale = true,
    anchor = CASE WHEN s.job_id IS NULL THEN coalesce(t.last_run_at, s.anchor) ELSE s.anchor END
FROM django_celery_beat_periodictask t, jobs_schedule o LEFT JOIN jobs_job j ON j.id = o.job_id
WHERE t.id = s.periodic_task_id AND o.periodic_task_id = s.periodic_task_id;

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
        'description', NEW.description,
        'overlap', NEW.overlap,
        'max_running', NEW.max_running,
        'concurrency_key', NEW.concurrency_key,
        'unique_waiting', NEW.unique_waiting,
        'rate', NEW.rate
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

-- A job that is given limits while it has runs: those that wait or run count from now on.
CREATE FUNCTION jobs_count_runs_of_limited_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE jobs_run SET lane = ''
    WHERE job_id = NEW.id AND lane IS NULL AND state IN ('scheduled', 'queued', 'running');
    RETURN NULL;
END $$;

CREATE TRIGGER jobs_count_runs_of_limited_job AFTER UPDATE ON jobs_job
    FOR EACH ROW WHEN (NEW.limited AND NOT OLD.limited) EXECUTE FUNCTION jobs_count_runs_of_limited_job();

-- Held, a schedule keeps its place: what it owes when it goes on is for its catch-up rule. One that was made held, or
-- that is to fire only once more, owes nothing; nor does one that missed no instant.
CREATE FUNCTION jobs_hold_schedule_of_paused_job() RETURNS trigger LANGUAGE plpgsql AS $$
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

CREATE TRIGGER jobs_hold_schedule_of_paused_job AFTER UPDATE ON jobs_job
    FOR EACH ROW WHEN (NEW.paused <> OLD.paused) EXECUTE FUNCTION jobs_hold_schedule_of_paused_job();

-- The part of a schedule's jitter that is its own: the same on every host, spread evenly (Knuth's multiplicative
-- hash of the number). `jobs.rules.jitter` computes the same.
CREATE FUNCTION jobs_jitter(schedule bigint, jitter interval) RETURNS interval LANGUAGE sql IMMUTABLE AS $$
    SELECT make_interval(secs => (((extract(epoch FROM jitter) * 1000000)::bigint
        * (((schedule % 2147483648) * 2654435761 % 4294967296) >> 12)) >> 20) / 1000000.0)
$$;

-- In PL/pgSQL and with one plan for all calls: they are called for every row that is edited, and planning their joins
-- would cost ten times as much as running them.
-- A change of a schedule begins a new count of instants. What was due before it and not fired yet must not vanish:
-- it becomes one skipped run that says so.
CREATE FUNCTION jobs_tell_unfired(tasks bigint[]) RETURNS void LANGUAGE plpgsql
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

-- How schedules of jobs read until now, and whether any beat had looked at that.
CREATE FUNCTION jobs_keep_former(tasks bigint[]) RETURNS void LANGUAGE plpgsql
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

-- Up to now a schedule of a job had no instants: it was made held, and owes nothing.
CREATE FUNCTION jobs_keep_that_nothing_was_due(tasks bigint[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO jobs_formerschedule (schedule_id, until, rule)
    SELECT periodic_task_id, clock_timestamp(), '{}' FROM jobs_schedule
    WHERE periodic_task_id = ANY(tasks) AND job_id IS NOT NULL AND held_why = ''
$$;

CREATE FUNCTION jobs_leave_schedule() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM jobs_tell_unfired(ARRAY[OLD.periodic_task_id]::bigint[]);
    DELETE FROM jobs_formerschedule WHERE schedule_id = OLD.periodic_task_id;
    RETURN OLD;
END $$;

CREATE TRIGGER jobs_leave_schedule BEFORE DELETE ON jobs_schedule
    FOR EACH ROW EXECUTE FUNCTION jobs_leave_schedule();

-- Each PeriodicTask has our row beside it; a change of when it fires makes that row stale from this moment on.
CREATE FUNCTION jobs_follow_periodic_task_made() RETURNS trigger LANGUAGE plpgsql AS $$
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

CREATE FUNCTION jobs_follow_periodic_task_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM jobs_schedule WHERE periodic_task_id = OLD.id;
    RETURN NULL;
END $$;

-- Before the update, so that the former rule can still be read.
CREATE FUNCTION jobs_follow_periodic_task_timed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM jobs_keep_former(ARRAY[NEW.id]::bigint[]);
    PERFORM jobs_tell_unfired(ARRAY[NEW.id]::bigint[]);
    UPDATE jobs_schedule SET stale = true, next_fire_at = NULL, cursor = clock_timestamp()
    WHERE periodic_task_id = NEW.id;
    RETURN NEW;
END $$;

-- The same when it is switched off and on.
CREATE FUNCTION jobs_follow_periodic_task_switched() RETURNS trigger LANGUAGE plpgsql AS $$
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

CREATE TRIGGER jobs_follow_periodic_task_made AFTER INSERT ON django_celery_beat_periodictask
    FOR EACH ROW EXECUTE FUNCTION jobs_follow_periodic_task_made();
CREATE TRIGGER jobs_follow_periodic_task_gone AFTER DELETE ON django_celery_beat_periodictask
    FOR EACH ROW EXECUTE FUNCTION jobs_follow_periodic_task_gone();
CREATE TRIGGER jobs_follow_periodic_task_timed BEFORE UPDATE ON django_celery_beat_periodictask
    FOR EACH ROW
    WHEN ((OLD.one_off, OLD.start_time, OLD.expires,
           OLD.interval_id, OLD.crontab_id, OLD.clocked_id, OLD.solar_id)
          IS DISTINCT FROM
          (NEW.one_off, NEW.start_time, NEW.expires,
           NEW.interval_id, NEW.crontab_id, NEW.clocked_id, NEW.solar_id))
    EXECUTE FUNCTION jobs_follow_periodic_task_timed();
CREATE TRIGGER jobs_follow_periodic_task_switched AFTER UPDATE ON django_celery_beat_periodictask
    FOR EACH ROW WHEN (NEW.enabled <> OLD.enabled) EXECUTE FUNCTION jobs_follow_periodic_task_switched();

-- The same for what stands in our own row.
CREATE FUNCTION jobs_follow_schedule() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM jobs_keep_former(ARRAY[NEW.periodic_task_id]::bigint[]);
    PERFORM jobs_tell_unfired(ARRAY[NEW.periodic_task_id]::bigint[]);
    NEW.stale := true;
    NEW.next_fire_at := NULL;
    NEW.cursor := clock_timestamp();
    RETURN NEW;
END $$;

CREATE TRIGGER jobs_follow_schedule BEFORE UPDATE ON jobs_schedule
    FOR EACH ROW
    WHEN ((OLD.timetable, OLD.exclusions, OLD.jitter) IS DISTINCT FROM (NEW.timetable, NEW.exclusions, NEW.jitter))
    EXECUTE FUNCTION jobs_follow_schedule();

CREATE FUNCTION jobs_give_schedule_to_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.paused := coalesce((SELECT paused FROM jobs_job WHERE id = NEW.job_id), false);
    RETURN NEW;
END $$;

CREATE TRIGGER jobs_give_schedule_to_job BEFORE UPDATE ON jobs_schedule
    FOR EACH ROW WHEN (NEW.job_id IS DISTINCT FROM OLD.job_id) EXECUTE FUNCTION jobs_give_schedule_to_job();

-- Schedules of django-celery-beat are shared by the tasks that name them.
CREATE FUNCTION jobs_follow_shared_schedule() RETURNS trigger LANGUAGE plpgsql AS $$
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

CREATE TRIGGER jobs_follow_crontab BEFORE UPDATE ON django_celery_beat_crontabschedule
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION jobs_follow_shared_schedule('crontab_id');
CREATE TRIGGER jobs_follow_interval BEFORE UPDATE ON django_celery_beat_intervalschedule
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION jobs_follow_shared_schedule('interval_id');
CREATE TRIGGER jobs_follow_clocked BEFORE UPDATE ON django_celery_beat_clockedschedule
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION jobs_follow_shared_schedule('clocked_id');
CREATE TRIGGER jobs_follow_solar BEFORE UPDATE ON django_celery_beat_solarschedule
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION jobs_follow_shared_schedule('solar_id');

-- The time between two starts at a rate such as 100/m; NULL without one. An interval has no less than a microsecond.
CREATE FUNCTION jobs_rate_step(rate text) RETURNS interval LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN rate <> '' THEN greatest(interval '1 microsecond', CASE split_part(rate, '/', 2)
        WHEN 's' THEN interval '1 second' WHEN 'm' THEN interval '1 minute'
        WHEN 'h' THEN interval '1 hour' WHEN 'd' THEN interval '1 day' END
        / nullif(split_part(rate, '/', 1), '')::double precision) END
$$;

-- When the next run may start was counted by the former rate: after 1/d, that could be tomorrow.
CREATE FUNCTION jobs_count_by_new_rate_of_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE jobs_gate SET next_at = NULL WHERE job_id = NEW.id AND next_at IS NOT NULL;
    RETURN NULL;
END $$;

CREATE FUNCTION jobs_count_by_new_rate_of_queue() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.next_at := NULL;
    RETURN NEW;
END $$;

CREATE TRIGGER jobs_count_by_new_rate_of_job AFTER UPDATE ON jobs_job
    FOR EACH ROW WHEN (NEW.rate <> OLD.rate) EXECUTE FUNCTION jobs_count_by_new_rate_of_job();
CREATE TRIGGER jobs_count_by_new_rate_of_queue BEFORE UPDATE ON jobs_queue
    FOR EACH ROW WHEN (NEW.rate <> OLD.rate) EXECUTE FUNCTION jobs_count_by_new_rate_of_queue();

-- How many may start now at a rate whose next start is allowed from `next_at` on (the generic cell rate algorithm,
-- ITU-T I.371, as a bucket of a quarter of a second: what a beat that looks twenty times a second needs).
CREATE FUNCTION jobs_rate_room(next_at timestamptz, step interval, now timestamptz) RETURNS int
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN step IS NULL THEN 10000
        WHEN next_at > now THEN 0
        ELSE least(10000, 1 + floor(
            extract(epoch FROM least(now - coalesce(next_at, now), interval '250 milliseconds'))
            / extract(epoch FROM step)))::int END
$$;

CREATE FUNCTION jobs_rate_next(next_at timestamptz, step interval, now timestamptz, started int) RETURNS timestamptz
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN step IS NULL THEN NULL WHEN started = 0 THEN next_at
        ELSE greatest(coalesce(next_at, now), now - interval '250 milliseconds') + step * started END
$$;

-- Lock the gate of a job until the end of the transaction, and tell whether that was possible. Who holds it may be a
-- program that stands still in the middle of a request: then all others go on without this job, and look again later.
CREATE FUNCTION jobs_lock_gate(job bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    waits text := current_setting('lock_timeout');
BEGIN
    PERFORM FROM jobs_gate g WHERE g.job_id = job FOR UPDATE SKIP LOCKED;
    IF FOUND THEN
        RETURN true;
    END IF;
    BEGIN
        PERFORM set_config('lock_timeout', '250ms', true);
        INSERT INTO jobs_gate (job_id) SELECT id FROM jobs_job WHERE id = job ON CONFLICT DO NOTHING;
        PERFORM FROM jobs_gate g WHERE g.job_id = job FOR UPDATE;
        PERFORM set_config('lock_timeout', waits, true);
    EXCEPTION WHEN lock_not_available THEN
        RETURN false;
    END;
    RETURN true;
END $$;

-- Let queued runs of limited jobs go, as far as the jobs' limits allow. With `only_lane`, only that lane was freed.
-- Each statement of a volatile function sees what was committed before it, so that the count under the gate's lock
-- is true. Returns the runs that workers may claim now, by queue.
CREATE FUNCTION jobs_admit(job bigint, only_lane text) RETURNS TABLE (freed_queue text, runs int)
LANGUAGE plpgsql AS $$
DECLARE
    gate jobs_gate%ROWTYPE;
    lim record;
    now timestamptz;
    room int;
    going bigint[];
BEGIN
    IF NOT jobs_lock_gate(job) THEN
        RETURN;
    END IF;
    SELECT * INTO gate FROM jobs_gate g WHERE g.job_id = job;
    SELECT j.max_running, j.overlap, jobs_rate_step(j.rate) AS step INTO lim FROM jobs_job j WHERE j.id = job;
    now := clock_timestamp();
    room := jobs_rate_room(gate.next_at, lim.step, now);
    IF lim.max_running IS NOT NULL AND room > 0 THEN
        room := least(room, lim.max_running - (
            SELECT count(*) FROM jobs_run r
            WHERE r.job_id = job AND r.held < 2 AND r.lane IS NOT NULL
                AND r.state IN ('scheduled', 'queued', 'running') AND r.state <> 'scheduled'));
    END IF;
    IF room <= 0 THEN
        RETURN;
    END IF;
    WITH RECURSIVE lanes AS (
        SELECT CASE WHEN only_lane IS NOT NULL AND lim.max_running IS NULL AND lim.step IS NULL THEN only_lane
            ELSE (SELECT r.lane FROM jobs_run r WHERE r.job_id = job AND r.state = 'queued' AND r.held = 2
                  ORDER BY r.lane LIMIT 1) END AS lane, 1 AS position
        UNION ALL
        SELECT (SELECT r.lane FROM jobs_run r
                WHERE r.job_id = job AND r.state = 'queued' AND r.held = 2 AND r.lane > lanes.lane
                ORDER BY r.lane LIMIT 1), 2
        FROM lanes
        WHERE lanes.lane IS NOT NULL AND NOT (only_lane IS NOT NULL AND lim.max_running IS NULL AND lim.step IS NULL)
    ), open AS (
        SELECT l.lane, CASE
            WHEN lim.overlap <> 'allow' THEN 1
            WHEN l.lane LIKE 'backfill:%' THEN coalesce((
                SELECT b.max_running FROM jobs_backfill b WHERE b.id = split_part(l.lane, ':', 2)::bigint), 10000)
            ELSE 10000 END - CASE
            WHEN lim.overlap <> 'allow' OR l.lane LIKE 'backfill:%' THEN (
                SELECT count(*) FROM jobs_run r
                WHERE r.job_id = job AND r.held IN (0, 1) AND r.lane = l.lane
                    AND r.state IN ('scheduled', 'queued', 'running') AND r.state <> 'scheduled')
            ELSE 0 END AS free
        FROM lanes l WHERE l.lane IS NOT NULL
    ), heads AS (
        SELECT h.id, h.priority, h.run_at
        FROM open, LATERAL (
            SELECT r.id, r.priority, r.run_at FROM jobs_run r
            WHERE r.job_id = job AND r.state = 'queued' AND r.held = 2 AND r.lane = open.lane
            ORDER BY r.priority DESC, r.run_at, r.id LIMIT least(open.free, room)) h
        WHERE open.free > 0
    )
    SELECT array_agg(id) INTO going
    FROM (SELECT h.id FROM heads h ORDER BY h.priority DESC, h.run_at, h.id LIMIT room) AS chosen;
    IF going IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY
        WITH let_go AS (
            UPDATE jobs_run r SET reason = '', held = CASE WHEN EXISTS (
                SELECT FROM jobs_queue q WHERE q.name = r.queue AND q.rate <> '') THEN 1 ELSE 0 END
            WHERE r.id = ANY(going) AND r.state = 'queued' AND r.held = 2
            RETURNING r.queue, r.held
        ), paced AS (
            UPDATE jobs_gate g SET next_at = jobs_rate_next(
                gate.next_at, lim.step, now, (SELECT count(*) FROM let_go)::int)
            WHERE g.job_id = job AND lim.step IS NOT NULL
        )
        SELECT l.queue::text, count(*)::int FROM let_go l WHERE l.held = 0 GROUP BY l.queue;
END $$;

-- The same for queues with a rate.
CREATE FUNCTION jobs_admit_queue(named text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    found_row jobs_queue%ROWTYPE;
    now timestamptz;
    room int;
    started int;
BEGIN
    SELECT * INTO found_row FROM jobs_queue q WHERE q.name = named FOR UPDATE SKIP LOCKED;
    IF NOT FOUND AND EXISTS (SELECT FROM jobs_queue q WHERE q.name = named) THEN
        RETURN 0;  -- somebody else is at it; what that one leaves, the next beat lets go
    END IF;
    now := clock_timestamp();
    room := jobs_rate_room(found_row.next_at, jobs_rate_step(found_row.rate), now);
    WITH let_go AS (
        UPDATE jobs_run r SET held = 0, reason = ''
        WHERE r.id = ANY(ARRAY(
            SELECT w.id FROM jobs_run w WHERE w.queue = named AND w.state = 'queued' AND w.held = 1
            ORDER BY w.priority DESC, w.run_at, w.id LIMIT room)) AND r.state = 'queued' AND r.held = 1
        RETURNING r.id
    )
    SELECT count(*) INTO started FROM let_go;
    IF started > 0 THEN
        UPDATE jobs_queue SET next_at = jobs_rate_next(found_row.next_at, jobs_rate_step(rate), now, started)
        WHERE name = named;
    END IF;
    RETURN started;
END $$;

-- Room on each page for HOT updates, and vacuum by rows touched rather than by the size of the table.
ALTER TABLE jobs_run SET (
    fillfactor = 70, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE jobs_schedule SET (
    fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
ALTER TABLE jobs_outputchunk SET (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);
ALTER TABLE jobs_gate SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 500);
ALTER TABLE jobs_queue SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 500);
