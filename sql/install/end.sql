INSERT INTO pg_default_acl SELECT p.* FROM tasker_engine.script_promised p;
DROP TABLE tasker_engine.script_promised;
DROP FUNCTION tasker_engine.script_new_members();
DROP FUNCTION tasker_engine.script_successor(tasker_engine.script_members);
DROP TABLE tasker_engine.script_members;
DROP FUNCTION tasker_engine.record_privileges(boolean);
