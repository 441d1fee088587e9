-- As before, with what it means that processes are still running at the end of a run.
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
