-- Workers announce the handlers that they can run. An announcement is information, never a condition: claims do not look at
-- it, a worker that announces nothing works as well, and what a worker that is gone announced does not count.

CREATE OR REPLACE FUNCTION tasker_engine.check_announcement(
    worker_id text, handlers text[], namespaces text[], plugin text, plugin_version text, metadata jsonb)
RETURNS void LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM tasker_engine.required($2, 'handlers'), tasker_engine.required($6, 'metadata');
    PERFORM tasker_engine.checked($1, 'worker id', 'worker_id');
    PERFORM tasker_engine.checked(h.name, 'handler', 'an element of handlers') FROM unnest($2) AS h (name);
    PERFORM tasker_engine.checked(n.name, 'namespace', 'an element of namespaces') FROM unnest($3) AS n (name);
    IF $4 IS NOT NULL THEN
        PERFORM tasker_engine.checked($4, 'plugin', 'plugin');
    END IF;
    IF $5 IS NOT NULL THEN
        PERFORM tasker_engine.checked($5, 'plugin version', 'plugin_version');
    END IF;
    IF cardinality($3) = 0 THEN
        RAISE invalid_parameter_value USING MESSAGE = 'namespaces must not be empty',
            DETAIL = 'The call gave an array without elements.',
            HINT = 'NULL stands for every namespace.';
    END IF;
    IF $5 IS NOT NULL AND $4 IS NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = 'plugin_version needs a plugin',
            DETAIL = 'The call gave a version and no name.',
            HINT = 'Name the plugin, or leave both NULL.';
    END IF;
    IF jsonb_typeof($6) <> 'object' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'metadata must be a JSON object',
            DETAIL = format('The document given is of type %s.', jsonb_typeof($6)),
            HINT = 'Leave it at its default ''{}''.';
    END IF;
    PERFORM tasker_engine.shallow($6, 'metadata');
END
$$;
COMMENT ON FUNCTION tasker_engine.check_announcement(text, text[], text[], text, text, jsonb) IS
'Refuses an announcement that is not valid: 22004 for NULL, 22023 for the rest.';

CREATE OR REPLACE FUNCTION tasker.register_handlers(
    worker_id text, handlers text[], namespaces text[] DEFAULT NULL, plugin text DEFAULT NULL,
    plugin_version text DEFAULT NULL, metadata jsonb DEFAULT '{}')
RETURNS integer LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    worker integer;
    other text;
    announced integer;
    known text[];
    knew_plugin boolean;
    removed tasker_engine.worker_handlers[];
    now text;
BEGIN
    PERFORM tasker_engine.require_resumed(or_new => true);
    PERFORM tasker_engine.require_version();
    PERFORM tasker_engine.check_announcement($1, $2, $3, $4, $5, $6);
    -- Also the lock under which one worker's announcements follow each other.
    INSERT INTO tasker_engine.workers AS w (worker_id) VALUES ($1)
    ON CONFLICT (worker_id) DO UPDATE SET last_seen_at = clock_timestamp(), ended_at = NULL
    RETURNING w.worker_no INTO worker;

    SELECT coalesce(h.plugin_version, 'no version') INTO other
    FROM tasker_engine.worker_handlers h
    WHERE h.worker_no = worker AND h.plugin = $4 AND h.plugin_version IS DISTINCT FROM $5 AND h.handler <> ALL ($2)
    LIMIT 1;
    IF FOUND THEN
        RAISE unique_violation USING
            MESSAGE = format('worker %s has announced plugin %s already', $1, $4),
            DETAIL = format('With %s, and now with %s.', other, coalesce($5, 'no version')),
            HINT = 'A worker has one version of a plugin. tasker.unregister_handlers takes back what it announced.';
    END IF;

    SELECT coalesce(array_agg(h.handler), '{}'), coalesce(bool_or(h.plugin = $4 AND h.plugin_version IS NOT DISTINCT FROM $5), false)
    INTO known, knew_plugin
    FROM tasker_engine.worker_handlers h WHERE h.worker_no = worker;
    INSERT INTO tasker_engine.worker_handlers AS h
        (worker_no, handler, namespaces, plugin, plugin_version, metadata, announced_at)
    SELECT worker, u.name, $3, $4, $5, $6, clock_timestamp()
    FROM (SELECT DISTINCT o.name FROM unnest($2) AS o (name)) u
    ON CONFLICT (worker_no, handler) DO UPDATE
    SET namespaces = excluded.namespaces, plugin = excluded.plugin, plugin_version = excluded.plugin_version,
        metadata = excluded.metadata, announced_at = excluded.announced_at;
    GET DIAGNOSTICS announced = ROW_COUNT;
    now := tasker_engine.event_time(clock_timestamp());
    PERFORM tasker_engine.publish_facts('handler.registered', array_agg(u.name ORDER BY u.name), array_agg(jsonb_strip_nulls(jsonb_build_object(
        'registry_name', 'handlers', 'entity_type', 'handler', 'entity_id', u.name, 'timestamp', now, 'worker_id', $1,
        'registered_at', now, 'namespaces', $3, 'plugin', $4, 'plugin_version', $5))
        || CASE WHEN $6 = '{}' THEN '{}' ELSE jsonb_build_object('options', $6) END ORDER BY u.name))
    FROM (SELECT DISTINCT o.name FROM unnest($2) AS o (name)) u WHERE u.name <> ALL (known);
    IF $4 IS NOT NULL AND NOT knew_plugin AND announced > 0 THEN
        PERFORM tasker_engine.publish_facts('plugin.registered', ARRAY[$4], ARRAY[jsonb_strip_nulls(jsonb_build_object(
            'registry_name', 'plugins', 'entity_type', 'plugin', 'entity_id', $4, 'timestamp', now, 'worker_id', $1,
            'registered_at', now, 'plugin_version', $5))]);
    END IF;

    -- Every start of a worker announces under a new id. Each announcement clears those of workers that are long gone.
    WITH gone AS (
        DELETE FROM tasker_engine.worker_handlers h
        WHERE h.worker_no IN (
            SELECT w.worker_no FROM tasker_engine.workers w
            WHERE w.worker_no IN (SELECT k.worker_no FROM tasker_engine.known_workers k
                                  WHERE NOT k.live AND k.last_seen_at < clock_timestamp() - interval '1 day')
              AND EXISTS (SELECT FROM tasker_engine.worker_handlers o WHERE o.worker_no = w.worker_no)
            FOR UPDATE SKIP LOCKED)
        RETURNING h)
    SELECT array_agg(g.h) INTO removed FROM gone g;
    IF removed IS NOT NULL THEN
        PERFORM tasker_engine.tell_handlers_gone(removed);
    END IF;
    RETURN announced;
END
$$;
COMMENT ON FUNCTION tasker.register_handlers(text, text[], text[], text, text, jsonb) IS
'Announces which handlers a worker can run, in which namespaces (NULL: all), and the plugin that brings them; returns how many. Adds to what the worker announced before and replaces what it says again. Counts as long as the worker is seen. 22023 for a malformed name or version, 23505 for a second version of a plugin in one worker.
worker_id: Name of the worker process, as it claims under.
handlers: Names that steps of templates call, up to 255 characters each.
namespaces: The namespaces it runs them for; NULL for all, 22023 for an array without elements.
plugin: The plugin that brings them; NULL for none.
plugin_version: Semantic version of the plugin; NULL if it has none, 22023 without a plugin.
metadata: More about them, a JSON object of at most 100 levels.';
GRANT EXECUTE ON FUNCTION tasker.register_handlers(text, text[], text[], text, text, jsonb) TO tasker_worker;

CREATE OR REPLACE FUNCTION tasker.unregister_handlers(worker_id text, handlers text[] DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    removed tasker_engine.worker_handlers[];
BEGIN
    PERFORM tasker_engine.require_resumed(or_new => true);
    PERFORM tasker_engine.checked($1, 'worker id', 'worker_id');
    WITH gone AS (
        DELETE FROM tasker_engine.worker_handlers h
        USING tasker_engine.workers w
        WHERE w.worker_id = $1 AND h.worker_no = w.worker_no AND ($2 IS NULL OR h.handler = ANY ($2))
        RETURNING h)
    SELECT array_agg(g.h) INTO removed FROM gone g;
    IF removed IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM tasker_engine.tell_handlers_gone(removed);
    RETURN cardinality(removed);
END
$$;
COMMENT ON FUNCTION tasker.unregister_handlers(text, text[]) IS
'Removes the announcements of a worker, all of them or those of these handlers, and returns the number removed; 0 for an unknown worker.
worker_id: Name of the worker process, as it announced.
handlers: The handlers to remove; NULL for all.';
GRANT EXECUTE ON FUNCTION tasker.unregister_handlers(text, text[]) TO tasker_worker;
