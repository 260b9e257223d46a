-- A coordinator, if background processes are there.
DO $$
BEGIN
    IF NOT tasker_engine.wake_launcher() THEN
        RAISE WARNING 'tasker_ext has no background workers here'
            USING HINT = 'For schedules, timeouts and sql: handlers that run by themselves set shared_preload_libraries = ''tasker_ext'' and restart; otherwise call tasker.run_maintenance() and tasker.run_steps().';
    END IF;
END
$$;
