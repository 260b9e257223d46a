-- Everything the catalog says about the installed extension, one line per entry, sorted: for comparing two installations. Column numbers
-- and oids are left out; privileges are sorted.
WITH ext AS (SELECT e.oid, e.extconfig, e.extcondition FROM pg_catalog.pg_extension e WHERE e.extname = 'tasker_ext'),
space AS (SELECT n.oid, n.nspname FROM pg_catalog.pg_namespace n WHERE n.nspname IN ('tasker', 'tasker_engine')),
rel AS (
    SELECT c.*, c.oid::regclass::text AS name
    FROM pg_catalog.pg_class c JOIN space s ON s.oid = c.relnamespace),
fun AS (
    SELECT p.*, p.oid::regprocedure::text AS name
    FROM pg_catalog.pg_proc p JOIN space s ON s.oid = p.pronamespace)
SELECT l.line FROM (
    SELECT format('schema %s: owner %s, acl %s, comment %L', n.nspname, pg_get_userbyid(n.nspowner),
                  ARRAY(SELECT a::text FROM unnest(n.nspacl) a ORDER BY 1), obj_description(n.oid, 'pg_namespace')) AS line
    FROM pg_catalog.pg_namespace n JOIN space s ON s.oid = n.oid
    UNION ALL
    SELECT format('relation %s: kind %s, owner %s, persistence %s, options %s, replica identity %s, row security %s %s, acl %s, comment %L',
                  r.name, r.relkind, pg_get_userbyid(r.relowner), r.relpersistence, r.reloptions, r.relreplident,
                  r.relrowsecurity, r.relforcerowsecurity, ARRAY(SELECT a::text FROM unnest(r.relacl) a ORDER BY 1),
                  obj_description(r.oid, 'pg_class'))
    FROM rel r
    UNION ALL
    SELECT format('column %s.%s: %s, not null %s, default %s, identity %s, generated %s, storage %s, compression %s, statistics %s, options %s, collation %s, acl %s, comment %L',
                  r.name, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid),
                  a.attidentity, a.attgenerated, a.attstorage, a.attcompression, a.attstattarget, ARRAY(SELECT o FROM unnest(a.attoptions) o WHERE o !~ '^pg_attver=' ORDER BY 1),
                  a.attcollation::regcollation, ARRAY(SELECT x::text FROM unnest(a.attacl) x ORDER BY 1),
                  col_description(r.oid, a.attnum))
    FROM rel r
    JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE r.relkind <> 'i'
    UNION ALL
    SELECT format('constraint %s on %s: %s, valid %s, index %s, comment %L', c.conname, r.name, pg_get_constraintdef(c.oid),
                  c.convalidated, c.conindid::regclass, obj_description(c.oid, 'pg_constraint'))
    FROM rel r JOIN pg_catalog.pg_constraint c ON c.conrelid = r.oid
    UNION ALL
    SELECT format('index %s: %s, clustered %s, valid %s, identity %s', r.name, pg_get_indexdef(r.oid), i.indisclustered, i.indisvalid,
                  i.indisreplident)
    FROM rel r JOIN pg_catalog.pg_index i ON i.indexrelid = r.oid
    UNION ALL
    SELECT format('sequence %s: %s, start %s, increment %s, max %s, min %s, cache %s, cycle %s, of %s', r.name, q.seqtypid::regtype,
                  q.seqstart, q.seqincrement, q.seqmax, q.seqmin, q.seqcache, q.seqcycle,
                  (SELECT pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid) FROM pg_catalog.pg_depend d
                   WHERE d.classid = 'pg_class'::regclass AND d.objid = r.oid AND d.deptype IN ('a', 'i')
                     AND d.refclassid = 'pg_class'::regclass))
    FROM rel r JOIN pg_catalog.pg_sequence q ON q.seqrelid = r.oid
    UNION ALL
    SELECT format('view %s: %s', r.name, md5(pg_get_viewdef(r.oid)))
    FROM rel r WHERE r.relkind IN ('v', 'm')
    UNION ALL
    SELECT format('trigger %s on %s: %s, enabled %s, comment %L', t.tgname, r.name, pg_get_triggerdef(t.oid), t.tgenabled,
                  obj_description(t.oid, 'pg_trigger'))
    FROM rel r JOIN pg_catalog.pg_trigger t ON t.tgrelid = r.oid AND NOT t.tgisinternal
    UNION ALL
    SELECT format('function %s: arguments (%s), returns %s, language %s, kind %s, %s, parallel %s, strict %s, leakproof %s, definer %s, cost %s, rows %s, symbol %s, owner %s, acl %s, comment %L',
                  f.name, pg_get_function_arguments(f.oid), pg_get_function_result(f.oid), l.lanname, f.prokind, f.provolatile,
                  f.proparallel, f.proisstrict, f.proleakproof, f.prosecdef, f.procost, f.prorows,
                  CASE l.lanname WHEN 'c' THEN f.prosrc END, pg_get_userbyid(f.proowner),
                  ARRAY(SELECT a::text FROM unnest(f.proacl) a ORDER BY 1), obj_description(f.oid, 'pg_proc'))
    FROM fun f JOIN pg_catalog.pg_language l ON l.oid = f.prolang
    UNION ALL
    SELECT format('settings of %s: %s', f.name, ARRAY(SELECT s FROM unnest(f.proconfig) s ORDER BY 1))
    FROM fun f
    UNION ALL
    SELECT format('body of %s: %s', f.name, md5(coalesce(pg_get_function_sqlbody(f.oid), f.prosrc)))
    FROM fun f JOIN pg_catalog.pg_language l ON l.oid = f.prolang WHERE l.lanname <> 'c'
    UNION ALL
    SELECT format('initial privileges of %s: %s', pg_describe_object(p.classoid, p.objoid, p.objsubid),
                  ARRAY(SELECT a::text FROM unnest(p.initprivs) a ORDER BY 1))
    FROM pg_catalog.pg_init_privs p, ext
    WHERE (p.classoid, p.objoid) IN (SELECT d.classid, d.objid FROM pg_catalog.pg_depend d
                                     WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = ext.oid AND d.deptype = 'e')
    UNION ALL
    SELECT format('member %s', pg_describe_object(d.classid, d.objid, d.objsubid))
    FROM ext JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = ext.oid AND d.deptype = 'e'
    UNION ALL
    SELECT format('dumped %s: %L', c.relation::regclass, c.condition)
    FROM ext, unnest(ext.extconfig, ext.extcondition) AS c (relation, condition)
) l
ORDER BY l.line COLLATE "C";
