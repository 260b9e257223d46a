-- A table that keeps a role keeps it twice: the oid decides, the name is for a dump, since another cluster has other oids.
-- On the way in the oid is looked up from the name; what a dump says of oids never counts.

CREATE FUNCTION tasker_engine.role_oid(role_name text)
RETURNS oid LANGUAGE sql STABLE PARALLEL SAFE
RETURN (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) role_name);
COMMENT ON FUNCTION tasker_engine.role_oid(text) IS 'The oid of the role that bears this name now; NULL if none does.';

CREATE FUNCTION tasker_engine.role_name(role_oid oid, kept text)
RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce((SELECT r.rolname::text FROM pg_catalog.pg_roles r WHERE r.oid OPERATOR(pg_catalog.=) role_oid), kept);
COMMENT ON FUNCTION tasker_engine.role_name(oid, text) IS 'The name that a role bears now; the one that was kept if the role is gone.';
