-- Closed by default: nothing for PUBLIC, and each role exactly what it works with. What the extension made belongs to
-- tasker_owner, which has no members: a role that owned it could put code of its own behind a name that others call.
-- What decides with whose rights a handler runs stays with the superuser (functions/sql_handlers.sql, tables/sql_handlers.sql).
DO $$
DECLARE
    superusers CONSTANT text[] := ARRAY['tasker_engine.sql_handlers', 'tasker_engine.subscriber_handlers', 'tasker_engine.check_sql_handler()',
                                        'tasker_engine.call_handler(text,jsonb,oid,text)', 'tasker_engine.function_owner(text)'];
    bootstrap CONSTANT text := pg_get_userbyid(10);
    member record;
BEGIN
    FOR member IN SELECT m.kind, m.name FROM tasker_engine.script_new_members() m LOOP
        -- A sequence goes with the table that it counts for.
        IF member.kind <> 'SEQUENCE' THEN
            EXECUTE format('ALTER %s %s OWNER TO %I', member.kind, member.name,
                           CASE WHEN member.name = ANY (superusers) THEN bootstrap ELSE 'tasker_owner' END);
        END IF;
        -- After that: what is revoked is recorded, as it is then, as the privileges with which the extension comes.
        EXECUTE format('REVOKE ALL ON %s %s FROM PUBLIC',
                       CASE member.kind WHEN 'VIEW' THEN 'TABLE' ELSE member.kind END, member.name);
    END LOOP;
END
$$;
