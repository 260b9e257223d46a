-- CREATE OR REPLACE keeps the owner of an object, which could put code of its own into it after the update. This runs first, because the
-- script calls functions of the extension, and last, because a member could be added meanwhile.
DO $$
DECLARE
    members text;
    owners text;
BEGIN
    -- Nothing is recorded of what the bootstrap superuser owns.
    SELECT string_agg(pg_describe_object(d.classid, d.objid, 0), ', ' ORDER BY d.classid, d.objid),
           string_agg(DISTINCT pg_get_userbyid(o.refobjid), ', ')
    INTO members, owners
    FROM pg_extension e
    JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
    JOIN pg_shdepend o ON o.classid = d.classid AND o.objid = d.objid AND o.deptype = 'o'
        AND o.dbid = (SELECT b.oid FROM pg_database b WHERE b.datname = current_database())
    WHERE e.extname = 'tasker_ext' AND pg_get_userbyid(o.refobjid) <> 'tasker_owner';
    IF to_regrole('tasker_owner') IS NULL THEN
        RAISE EXCEPTION 'there is no role "tasker_owner"'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = format('It owns the objects of the extension. They belong to: %s.', owners),
                  HINT = 'If the role was renamed, run ALTER ROLE ... RENAME TO tasker_owner. Then run ALTER EXTENSION tasker_ext UPDATE again.';
    ELSIF members IS NOT NULL THEN
        RAISE EXCEPTION 'the extension tasker_ext has members that do not belong to its owner role "tasker_owner"'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = format('Owned by %s: %s.', owners, members),
                  HINT = 'Remove each object that you added (ALTER EXTENSION tasker_ext DROP FUNCTION ..., or VIEW or TABLE), and return each object of the extension (ALTER FUNCTION ... OWNER TO tasker_owner, or ALTER VIEW or TABLE). Then run ALTER EXTENSION tasker_ext UPDATE again.';
    END IF;
END
$$;
