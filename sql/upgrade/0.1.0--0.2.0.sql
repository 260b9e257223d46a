-- What version 0.2.0 changes of tables, roles and signatures of functions; everything else is made again after this.

-- What a claim asks for, what a worker has begun, and what it gives back.
SELECT tasker_engine.script_replace_function('tasker.claim_steps(text,text[],integer,interval,text,text[])', 'tasker.claim_steps(text,text[],integer,interval,text,text[],text[])');
SELECT tasker_engine.script_replace_function('tasker.report_and_claim(text,jsonb,text[],integer,interval,text,text[])', 'tasker.report_and_claim(text,jsonb,text[],integer,interval,text,text[],text[],uuid[])');
SELECT tasker_engine.script_replace_function('tasker.heartbeat(text,interval)', 'tasker.heartbeat(text,interval,uuid[])');
SELECT tasker_engine.script_replace_function('tasker.release_steps(text)', 'tasker.release_steps(text,jsonb,interval,text)');
