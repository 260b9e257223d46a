SELECT count(*)
FROM tasker.report_steps('bench', (
    SELECT coalesce(jsonb_agg(jsonb_build_object('step_uuid', c.step_uuid, 'claim_number', c.claim_number,
               'status', CASE WHEN c.fate < 0.8 THEN 'complete' ELSE 'error' END, 'results', '{"ok": true}'::jsonb,
               'error_message', 'it broke', 'retry_after_seconds', 300,
               'retryable', c.fate < 0.9 OR c.step_name <> 'one_a')), '[]')
    FROM (SELECT c.*, random() AS fate FROM tasker.claim_steps('bench', max_steps => 10000, lease => '1 day') c) c
    WHERE random() < 0.9)) \g /dev/null
