-- How long a failed step waits; the rule is crates/rules/src/engine/backoff.rs.

CREATE FUNCTION tasker.calculate_backoff(
    attempt integer, kind text DEFAULT NULL, base_ms integer DEFAULT NULL, max_ms integer DEFAULT NULL,
    retry_after interval DEFAULT NULL, jitter numeric DEFAULT NULL)
RETURNS interval AS 'MODULE_PATHNAME', 'calculate_backoff' LANGUAGE c VOLATILE
SET search_path = pg_catalog, pg_temp;
