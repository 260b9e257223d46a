-- What version 0.2.0 changes of tables, roles and signatures of functions; everything else is made again after this.

-- What a claim asks for, what a worker has begun, and what it gives back.
SELECT tasker_engine.script_replace_function('tasker.claim_steps(text,text[],integer,interval,text,text[])', 'tasker.claim_steps(text,text[],integer,interval,text,text[],text[])');
SELECT tasker_engine.script_replace_function('tasker.report_and_claim(text,jsonb,text[],integer,interval,text,text[])', 'tasker.report_and_claim(text,jsonb,text[],integer,interval,text,text[],text[],uuid[])');
SELECT tasker_engine.script_replace_function('tasker.heartbeat(text,interval)', 'tasker.heartbeat(text,interval,uuid[])');
SELECT tasker_engine.script_replace_function('tasker.release_steps(text)', 'tasker.release_steps(text,jsonb,interval,text)');

-- Read by a session's first claim and whenever the clock was set; written only then.
CREATE TABLE tasker_engine.clock_readings (
    machine_start text PRIMARY KEY,
    offset_us bigint NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE tasker_engine.clock_readings IS 'How far the wall clock was before the clock that counts since the machine started: when it is less, the clock was set back, and what is stored moves with it. One row.';
COMMENT ON COLUMN tasker_engine.clock_readings.machine_start IS 'Names the start of the machine; a reading of another one means nothing.';
COMMENT ON COLUMN tasker_engine.clock_readings.offset_us IS 'Wall-clock time minus the time since the start, in microseconds.';
