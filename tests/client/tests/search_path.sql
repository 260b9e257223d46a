-- A public schema in which every name that PostgreSQL knows has a double that records the role that ran it: in a table, and in the
-- server's log, which no rollback takes back. The doubles return NULL, so that what believes them fails as well.
SET search_path = pg_catalog;
SET check_function_bodies = off;
SET statement_timeout = 0;
CREATE TABLE public.caught (what text, role name, session name);
GRANT ALL ON public.caught TO PUBLIC;
CREATE FUNCTION public.caught(what text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE LOG 'caught: % ran as % in a session of %', what, current_user, session_user;
    INSERT INTO public.caught VALUES (what, current_user, session_user);
END $$;
CREATE FUNCTION public.caught_value(value anyelement) RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM public.caught(format('a cast to %s', pg_typeof(value)));
    RETURN true;
END $$;

CREATE FUNCTION public.attempt(command text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    EXECUTE command;
EXCEPTION WHEN OTHERS THEN
    NULL; -- a kind of function that plpgsql cannot double, or one that is doubled already
END $$;

CREATE FUNCTION public.double(name name, arguments text, result text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT public.attempt(format(
        'CREATE FUNCTION public.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', name, arguments, result,
        format('BEGIN PERFORM public.caught(%L); RETURN%s; END', format('%s(%s)', name, arguments),
               CASE WHEN result ~ '^(SETOF|TABLE|void|record)' OR arguments ~ '\mOUT\M' THEN '' ELSE ' NULL' END)));
$$;

-- The types that meet in the engine's statements.
CREATE TABLE public.met (type regtype);
INSERT INTO public.met
SELECT t FROM unnest('{smallint,integer,bigint,oid,double precision,numeric,text,name,"\"char\"",uuid,boolean,jsonb,
    timestamptz,interval,smallint[],integer[],bigint[],text[],uuid[]}'::regtype[]) t;

-- Functions as they are, and those that take anything for each type.
SELECT count(public.double(p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid)))
FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f';
SELECT count(public.double(p.proname, arguments, pg_get_function_result(p.oid)))
FROM pg_proc p, public.met m,
     LATERAL (VALUES (format('%s', m.type)), (format('text, %s', m.type)), (format('%s, text', m.type)), (format('text, text, %s', m.type)),
                     (format('text, %s, text', m.type)), (format('text, %s, text, %s', m.type, m.type))) a (arguments)
WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND '"any"'::regtype = ANY (p.proargtypes::oid[] || p.provariadic);
SELECT count(public.double(p.proname, CASE p.proargtypes[0] WHEN 'anyarray'::regtype THEN format('%s[]', m.type) ELSE format('%s', m.type) END,
           replace(replace(pg_get_function_result(p.oid), 'anyelement', m.type::text), 'anyarray', m.type || '[]')))
FROM pg_proc p, public.met m
WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND p.pronargs = 1
  AND p.proargtypes[0] = ANY ('{anyarray,anyelement,anynonarray}'::regtype[]);

-- Aggregates likewise.
SELECT count(public.double('caught_' || p.oid, concat_ws(', ', format_type(p.prorettype, NULL), nullif(pg_get_function_arguments(p.oid), '')),
                           format_type(p.prorettype, NULL))),
       count(public.attempt(format('CREATE AGGREGATE public.%I(%s) (SFUNC = public.caught_%s, STYPE = %s)', p.proname,
           coalesce(nullif(pg_get_function_arguments(p.oid), ''), '*'), p.oid, format_type(p.prorettype, NULL))))
FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'a';
SELECT count(public.double('caught_' || p.oid, format('%s, %s', r.result, a.arguments), r.result)),
       count(public.attempt(format('CREATE AGGREGATE public.%I(%s) (SFUNC = public.caught_%s, STYPE = %s)', p.proname, a.arguments, p.oid, r.result)))
FROM pg_proc p, public.met m,
     LATERAL (VALUES (CASE p.pronargs WHEN 1 THEN format('%s', m.type) ELSE format('text, %s', m.type) END)) a (arguments),
     LATERAL (VALUES (CASE WHEN p.prorettype = 'anyarray'::regtype THEN m.type || '[]' ELSE format_type(p.prorettype, NULL) END)) r (result)
WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'a' AND p.pronargs BETWEEN 1 AND 2
  AND p.proname IN ('count', 'array_agg', 'json_agg', 'jsonb_agg', 'json_object_agg', 'jsonb_object_agg');

-- Operators as they are, and those for two types that PostgreSQL would have to cast.
CREATE FUNCTION public.double_operator(name name, left_type oid, right_type oid, result oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    arguments text := concat_ws(', ', format_type(nullif(left_type, 0), NULL), format_type(right_type, NULL));
    double text := 'caught_operator_' || format_type(result, NULL);
BEGIN
    IF to_regprocedure(format('public.%I(%s)', double, arguments)) IS NULL THEN
        PERFORM public.double(double, arguments, format_type(result, NULL));
    END IF;
    PERFORM public.attempt(format('CREATE OPERATOR public.%s (%sRIGHTARG = %s, FUNCTION = public.%I)', name,
        CASE WHEN left_type <> 0 THEN format('LEFTARG = %s, ', format_type(left_type, NULL)) END, format_type(right_type, NULL), double));
END $$;
SELECT count(public.double_operator(o.oprname, o.oprleft, o.oprright, o.oprresult))
FROM pg_operator o WHERE o.oprnamespace = 'pg_catalog'::regnamespace;
SELECT count(public.double_operator(o.name, l.type, r.type, CASE WHEN o.name ~ '^[-+*/%|]' THEN l.type::oid ELSE 'boolean'::regtype END))
FROM unnest('{=,<>,<,>,<=,>=,+,-,*,/,||,->,->>,@>,<@,&&}'::text[]) o (name), public.met l, public.met r
WHERE (l.type = r.type OR l.type::text !~ '\[\]$' AND r.type::text !~ '\[\]$')
  AND NOT EXISTS (SELECT FROM pg_operator e WHERE e.oprname = o.name AND e.oprleft = l.type AND e.oprright = r.type
                  AND e.oprnamespace = 'public'::regnamespace);

-- Types: a cast to one of these names checks the value.
SELECT count(public.attempt(format('CREATE DOMAIN public.%I AS pg_catalog.%I CHECK (public.caught_value(VALUE))', t.typname, t.typname)))
FROM pg_type t WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype = 'b' AND t.typcategory <> 'A';
