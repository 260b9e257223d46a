-- What was granted on the schemas, and promised for schema tasker, before the extension came, is taken back.
DO $$
DECLARE
    extowner CONSTANT oid := (SELECT e.extowner FROM pg_extension e WHERE e.extname = 'tasker_ext');
    -- Not the superuser that installs: such roles come and go, and one can lose the attribute.
    bootstrap CONSTANT oid := 10;
    promised record;
    taken record;
    grantee text;
BEGIN
    PERFORM tasker_engine.record_privileges(false);
    FOR promised IN
        SELECT DISTINCT
               d.defaclrole::regrole AS role,
               CASE WHEN d.defaclobjtype = 'r' THEN 'TABLES' WHEN d.defaclobjtype = 'S' THEN 'SEQUENCES'
                    WHEN d.defaclobjtype = 'f' THEN 'FUNCTIONS' ELSE 'TYPES' END AS objects,
               CASE WHEN e.grantee = 0 THEN 'PUBLIC' ELSE e.grantee::regrole::text END AS grantee
        FROM pg_default_acl d, aclexplode(d.defaclacl) e
        WHERE d.defaclnamespace = 'tasker'::regnamespace
    LOOP
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %s IN SCHEMA tasker REVOKE ALL ON %s FROM %s CASCADE',
                                  promised.role, promised.objects, promised.grantee);
    END LOOP;
    FOR taken IN SELECT * FROM (VALUES ('tasker', extowner), ('tasker_engine', bootstrap)) AS s (name, owner) LOOP
        EXECUTE format('ALTER SCHEMA %I OWNER TO %I', taken.name, pg_get_userbyid(taken.owner));
        FOR grantee IN
            SELECT DISTINCT CASE WHEN e.grantee = 0 THEN 'PUBLIC' ELSE e.grantee::regrole::text END
            FROM pg_namespace n, aclexplode(n.nspacl) e
            WHERE n.nspname = taken.name AND e.grantee <> n.nspowner
        LOOP
            EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %s CASCADE', taken.name, grantee);
        END LOOP;
        EXECUTE format('GRANT ALL ON SCHEMA %I TO %I', taken.name, pg_get_userbyid(taken.owner));
    END LOOP;
    PERFORM tasker_engine.record_privileges(true);
END
$$;
