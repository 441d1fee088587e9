DROP TRIGGER jobs_follow_solar ON django_celery_beat_solarschedule;
DROP TRIGGER jobs_follow_clocked ON django_celery_beat_clockedschedule;
DROP TRIGGER jobs_follow_interval ON django_celery_beat_intervalschedule;
DROP TRIGGER jobs_follow_crontab ON django_celery_beat_crontabschedule;
DROP FUNCTION jobs_follow_shared_schedule();
DROP TRIGGER jobs_follow_periodic_task_changed ON django_celery_beat_periodictask;
DROP TRIGGER jobs_follow_periodic_task_gone ON django_celery_beat_periodictask;
DROP TRIGGER jobs_follow_periodic_task_made ON django_celery_beat_periodictask;
DROP FUNCTION jobs_follow_periodic_task();
DROP TRIGGER jobs_leave_schedule ON jobs_schedule;
DROP FUNCTION jobs_leave_schedule();
DROP FUNCTION jobs_tell_unfired(bigint[]);
DROP TRIGGER jobs_keep_jobs_of_runs ON jobs_job;
DROP FUNCTION jobs_keep_jobs_of_runs();
DROP TRIGGER jobs_keep_definition ON jobs_job;
DROP FUNCTION jobs_keep_definition();
ALTER TABLE jobs_run RESET (
    fillfactor, autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold,
    autovacuum_vacuum_cost_delay, autovacuum_analyze_scale_factor);
ALTER TABLE jobs_schedule RESET (fillfactor, autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
ALTER TABLE jobs_outputchunk RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
