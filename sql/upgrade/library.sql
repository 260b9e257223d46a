-- First of all: the library that this session works with must know what the script makes. A server that loads it when it starts keeps
-- it until it restarts.
DO $$
DECLARE
    library CONSTANT text := (SELECT l.version FROM tasker_engine.library() l);
    target CONSTANT text := (SELECT e.extversion FROM pg_extension e WHERE e.extname = 'tasker_ext');
BEGIN
    IF string_to_array(library, '.')::integer[] < string_to_array(target, '.')::integer[] THEN
        RAISE EXCEPTION 'the library of tasker_ext is version %, too old for an update of the extension to version %', library, target
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = 'A server keeps the library that it loaded when it started, and a session the one that it loaded first. Nothing has been changed.',
                  HINT = 'Restart the server, so that it loads the library that is installed; without shared_preload_libraries open a new session. Then run ALTER EXTENSION tasker_ext UPDATE again.';
    END IF;
END
$$;
