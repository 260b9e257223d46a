//! What happens to the tasks of the run.

use tasker_client_tests::worker::Ask;
use tasker_client_tests::{Claim, Uuid, Value, inside, json, patience, shapes};

use super::Run;

const NAMESPACES: [&str; 5] = [
    "linear_workflow",
    "diamond_workflow",
    "tree_workflow",
    "mixed_dag_workflow",
    "fulfillment",
];

pub fn play(run: &mut Run) {
    for scene in [
        register,
        success,
        backoff,
        exhausted,
        resolved_step,
        order,
        returned,
        lost_leases,
        step_timeout,
        task_timeout,
        cancelled,
        by_hand,
        bypassed,
        rerun,
        repaired,
        telemetry,
        facts,
    ] {
        let title = scene(run);
        run.scene(title);
        assert_eq!(run.session.disagreements(), [] as [String; 0], "{title}");
    }
}

/// The examples, and two with more fields.
fn register(run: &mut Run) -> &'static str {
    let examples = [
        "linear",
        "diamond",
        "tree",
        "mixed_dag",
        "order_fulfillment",
    ];
    let hurried = shapes::example("linear").replace(
        "name: mathematical_sequence\n",
        "name: hurried_sequence\ntimeout_seconds: 60\n",
    );
    let careful = shapes::example("diamond")
        .replace(
            "name: parallel_computation\n",
            "name: careful_computation\n",
        )
        .replace(
            "  - name: diamond_branch_b\n",
            "  - name: diamond_branch_b\n    skippable: true\n    timeout_seconds: 60\n",
        );
    for text in examples
        .map(shapes::example)
        .iter()
        .chain([&hurried, &careful])
    {
        run.session
            .query("SELECT tasker.register_template($1)", &[text]);
    }
    "Templates are registered"
}

impl Run {
    fn create(&mut self, template: &str, namespace: &str, rest: &str) -> Uuid {
        let context = json!({
            "even_number": 6,
            "customer_info": {"id": 1, "email": "ada@example.com"},
            "order_items": [{"product_id": 1}],
            "payment_info": {"method": "paypal"},
            "shipping_info": {"method": "standard"},
        });
        let task = self.session.one(
            &format!("SELECT tasker.create_task($1, $2, $3{rest})"),
            &[&template, &context, &namespace],
        );
        self.name(task, template)
    }

    fn name(&mut self, task: Uuid, template: &str) -> Uuid {
        let number = self.tasks.len() + 1;
        self.tasks
            .insert(task, format!("task {number}, {template}"));
        task
    }

    fn linear(&mut self) -> Uuid {
        self.create("mathematical_sequence", "linear_workflow", "")
    }

    fn diamond(&mut self) -> Uuid {
        self.create("parallel_computation", "diamond_workflow", "")
    }

    fn claim(&mut self) -> Claim {
        let ask = Ask {
            namespaces: NAMESPACES.to_vec(),
            lease: "1 hour",
            ..Ask::default()
        };
        let mut claims = self.session.claim_soon(&ask, 1);
        claims.pop().expect("a step is ready")
    }

    /// Completes steps until this one is claimed.
    fn up_to(&mut self, step: &str) -> Claim {
        loop {
            let claim = self.claim();
            if claim.name == step {
                return claim;
            }
            self.session.complete(&claim, &json!({}));
        }
    }

    /// Completes what is left of the task.
    fn finish(&mut self, task: Uuid) {
        while matches!(&*self.session.task_state(task), "pending" | "in_progress") {
            let claim = self.claim();
            self.session.complete(&claim, &json!({}));
        }
        assert_eq!(self.session.task_state(task), "complete");
    }

    fn report(&mut self, claim: &Claim, fields: &Value) {
        let mut report = json!({"step_uuid": claim.step.to_string(), "claim_number": claim.number});
        let fields = fields.as_object().expect("an object").clone();
        report.as_object_mut().expect("an object").extend(fields);
        let outcome: String = self.session.one(
            "SELECT outcome FROM tasker.report_steps('worker', $1)",
            &[&json!([report])],
        );
        assert!(["error", "released"].contains(&&*outcome), "{outcome}");
    }

    fn call(&mut self, call: &str, of: Uuid) {
        self.session.query(&format!("SELECT tasker.{call}"), &[&of]);
    }

    fn repair(&mut self) {
        let repairs = "SELECT count(*) FROM tasker.repair_integrity(dry_run => false)";
        assert!(self.session.count(repairs, &[]) > 0);
    }

    /// Takes back what the worker holds.
    fn take_over(&mut self, step: Uuid) {
        let until = std::time::Instant::now() + patience(10);
        let running = "SELECT count(*) FROM tasker.running_steps WHERE step_uuid = $1";
        while self.session.count(running, &[&step]) > 0 {
            assert!(std::time::Instant::now() < until, "nothing takes it over");
            // Ended leases are looked for at most fifty times a second.
            std::thread::sleep(std::time::Duration::from_millis(25));
            self.session.claim(&Ask {
                namespaces: vec!["nowhere"],
                ..Ask::default()
            });
        }
    }
}

fn success(run: &mut Run) -> &'static str {
    let task = run.linear();
    run.finish(task);
    "A chain completes"
}

fn backoff(run: &mut Run) -> &'static str {
    let task = run.diamond();
    let claim = run.up_to("diamond_branch_c");
    run.session.fail_and_wait(&claim);
    run.look();
    inside::make_due(&mut run.session, task);
    let claim = run.up_to("diamond_branch_c");
    run.look();
    run.session.complete(&claim, &json!({}));
    run.finish(task);
    "A branch fails once, waits and completes"
}

fn exhausted(run: &mut Run) -> &'static str {
    let task = run.create("hierarchical_computation", "tree_workflow", "");
    for _ in 0..3 {
        let claim = run.up_to("tree_leaf_e");
        run.session.fail(&claim);
        run.look();
    }
    // Another branch, which completes.
    while run.session.task_state(task) == "in_progress" {
        let claim = run.claim();
        run.session.complete(&claim, &json!({}));
    }
    run.call("retry_task($1, 'the disk has room again')", task);
    run.finish(task);
    "A leaf uses up its attempts; an operator retries the task"
}

fn resolved_step(run: &mut Run) -> &'static str {
    let task = run.create("complex_dag_computation", "mixed_dag_workflow", "");
    let claim = run.up_to("dag_analyze");
    run.session.fail_for_good(&claim);
    run.look();
    while run.session.task_state(task) == "in_progress" {
        let claim = run.claim();
        run.session.complete(&claim, &json!({}));
    }
    run.call(
        "resolve_step_manually($1, '{\"sum\": 7}', 'ada', 'counted by hand')",
        claim.step,
    );
    run.finish(task);
    "A step fails permanently; an operator resolves it, and the rest runs"
}

fn order(run: &mut Run) -> &'static str {
    let task = run.create(
        "process_order",
        "fulfillment",
        ", correlation_id => 'order-42'",
    );
    let claim = run.up_to("process_payment");
    let lines: Vec<String> = (1..=12).map(|line| format!("payment.py:{line}")).collect();
    run.report(
        &claim,
        &json!({"status": "error", "error_message": "the gateway is busy", "error_class": "GatewayBusy",
                "retry_after_seconds": 90.5, "backtrace": lines}),
    );
    run.look();
    inside::make_due(&mut run.session, task);
    let claim = run.up_to("process_payment");
    run.report(
        &claim,
        &json!({"status": "error", "error_message": "card declined", "error_class": "CardDeclined", "backtrace": "payment.py:7\ncard.py:3"}),
    );
    run.look();
    run.call("resolve_task_manually($1, 'ada', 'paid in cash')", task);
    run.look();
    run.call(
        "cancel_task($1, 'came back', cancel_completed => true)",
        task,
    );
    "An order fails at the payment, is resolved and then cancelled"
}

fn returned(run: &mut Run) -> &'static str {
    let task = run.linear();
    let claim = run.claim();
    run.report(
        &claim,
        &json!({"status": "released", "retry_after_seconds": 1e9, "reason": "wrong build"}),
    );
    run.look();
    inside::make_due(&mut run.session, task);
    run.claim();
    run.session
        .query("SELECT tasker.release_steps('worker')", &[]);
    run.finish(task);
    "A worker gives a step back, for the longest time there is and at once"
}

fn lost_leases(run: &mut Run) -> &'static str {
    let task = run.linear();
    for _ in 0..3 {
        let claim = run.claim();
        inside::lease_ended(&mut run.session, "worker", 1);
        run.take_over(claim.step);
        run.look();
    }
    assert_eq!(run.session.task_state(task), "error");
    let step = run.session.step(task, "linear_step_1");
    run.call("retry_step($1, reset_attempts => true)", step);
    run.finish(task);
    "Three leases end; an operator lets the step start over"
}

fn step_timeout(run: &mut Run) -> &'static str {
    let task = run.create("careful_computation", "diamond_workflow", "");
    let claim = run.up_to("diamond_branch_b");
    inside::run_for(&mut run.session, 60);
    run.take_over(claim.step);
    run.look();
    inside::make_due(&mut run.session, task);
    run.finish(task);
    "A step runs longer than its timeout"
}

fn task_timeout(run: &mut Run) -> &'static str {
    let task = run.create("hurried_sequence", "linear_workflow", "");
    run.up_to("linear_step_2");
    inside::run_clocks(&mut run.session, 60);
    run.session
        .query("SELECT * FROM tasker.run_maintenance()", &[]);
    assert_eq!(run.session.task_state(task), "error");
    run.look();
    run.call("retry_task($1, 'more time')", task);
    run.finish(task);
    "A task runs longer than its timeout; an operator retries it"
}

fn cancelled(run: &mut Run) -> &'static str {
    let task = run.diamond();
    run.up_to("diamond_branch_b");
    run.call("cancel_task($1, 'not wanted any more')", task);
    run.look();
    let task = run.diamond();
    let step = run.session.step(task, "diamond_branch_c");
    run.call("cancel_step($1, 'too dear')", step);
    while matches!(&*run.session.task_state(task), "pending" | "in_progress") {
        let claim = run.claim();
        run.session.complete(&claim, &json!({}));
    }
    "A task is cancelled while a step runs; of another one a step is cancelled"
}

fn by_hand(run: &mut Run) -> &'static str {
    let task = run.linear();
    let step = run.session.step(task, "linear_step_1");
    run.call(
        "transition_step($1, 'in_progress', '{\"by\": \"ada\"}')",
        step,
    );
    run.look();
    run.call(
        "transition_step($1, 'error', '{\"error_message\": \"it hangs\", \"held\": true, \"expired\": 1}')",
        step,
    );
    run.look();
    run.call("transition_step($1, 'pending')", step);
    run.call("transition_task($1, 'pending')", task);
    run.call("transition_step($1, 'in_progress')", step);
    run.call("transition_step($1, 'pending')", step);
    run.call("transition_step($1, 'in_progress')", step);
    run.call("transition_step($1, 'complete')", step);
    run.call(
        "transition_task($1, 'error', '{\"reason\": \"wait for the audit\"}')",
        task,
    );
    run.look();
    run.call("transition_task($1, 'pending')", task);
    run.finish(task);
    "An operator makes the changes"
}

fn bypassed(run: &mut Run) -> &'static str {
    let task = run.create(
        "careful_computation",
        "diamond_workflow",
        ", bypass_steps => '[\"diamond_branch_b\"]'",
    );
    run.finish(task);
    "A step is bypassed"
}

fn rerun(run: &mut Run) -> &'static str {
    let old = run.diamond();
    run.finish(old);
    let task: Uuid = run
        .session
        .one("SELECT tasker.rerun_task($1, 'diamond_end')", &[&old]);
    run.name(task, "parallel_computation");
    run.finish(task);
    "A task runs again from its last step on"
}

fn repaired(run: &mut Run) -> &'static str {
    let task = run.linear();
    let claim = run.claim();
    run.session.complete(&claim, &json!({}));
    inside::spoil(
        &mut run.session,
        task,
        "DELETE FROM transitions WHERE task_uuid = $1 AND step_no = 1",
    );
    run.repair();
    run.look();
    run.claim();
    inside::lose_claims(&mut run.session);
    run.repair();
    run.look();
    run.finish(task);
    "A row of the log is lost, and later a claim: repair_integrity corrects both"
}

/// An exporter comes, sends, fails and goes, and counts of sessions are folded.
fn telemetry(run: &mut Run) -> &'static str {
    for sql in [
        "SELECT tasker.record_export('spans', 'plugin_registered', '{\"format\": \"otlp\", \"endpoint\": \"collector\"}')",
        "SELECT tasker.record_export('spans', 'export_requested', '{\"format\": \"otlp\"}')",
        "SELECT tasker.record_export('spans', 'export_completed', '{\"duration\": 0.5, \"size_bytes\": 2048, \"metrics_count\": 12}')",
        "SELECT tasker.record_export('spans', 'export_failed', '{\"error_message\": \"no answer\", \"exception_class\": \"ConnectTimeout\", \"retryable\": true}')",
        "SELECT tasker.record_export('spans', 'plugin_unregistered')",
        "INSERT INTO tasker_engine.metric_counts SELECT clock_timestamp() - interval '1 hour', 0, false, '{1}', '{1}' FROM generate_series(1, 150)",
        "SELECT tasker_engine.duty_metrics()",
    ] {
        run.session.execute(sql);
    }
    "An exporter comes, sends, fails and goes; counts are folded"
}

/// The last scene: the system stays in a state in which nothing is handed out.
fn facts(run: &mut Run) -> &'static str {
    for sql in [
        "SELECT tasker.register_handlers('worker', '{a,b}', '{linear_workflow}', 'kit', '1.0.0', '{\"a\": 1}')",
        "SELECT tasker.unregister_handlers('worker')",
        "SELECT tasker.schedule_task('nightly', '0 3 * * *', 'hurried_sequence', namespace => 'linear_workflow')",
        "UPDATE tasker_engine.schedules SET next_run_at = clock_timestamp()",
    ] {
        run.session.execute(sql);
    }
    run.session
        .query("SELECT tasker_engine.duty_schedules()", &[]);
    let task: Uuid = run.session.one(
        "SELECT r.task_uuid FROM tasker.schedule_runs r WHERE r.task_uuid IS NOT NULL",
        &[],
    );
    run.name(task, "hurried_sequence");
    for sql in [
        "SELECT tasker.register_template('{name: unused, namespace_name: linear_workflow, steps: [{name: a, handler: h}]}')",
        "SELECT tasker.delete_template('unused', 'linear_workflow', '0.1.0')",
        "SELECT tasker.subscribe('audit', '{task.failed,task.cancelled}', namespaces => '{linear_workflow}')",
        "SELECT tasker.unsubscribe('audit')",
        "SELECT * FROM tasker.load_subscriptions('subscriptions: {audit: {class: AuditSubscriber, events: []}}')",
        "SELECT tasker.set_operational_state('graceful_shutdown', 'a new machine')",
    ] {
        run.session.execute(sql);
    }
    "Handlers are announced and withdrawn, a schedule comes due, a template goes, subscribers come and go, the system shuts down"
}

/// Purge does not wait for a subscriber that has not read the life of a task.
pub fn missed(run: &mut Run) {
    for state in ["stopped", "startup", "normal"] {
        run.session
            .query("SELECT tasker.set_operational_state($1)", &[&state]);
    }
    run.session
        .execute("SELECT tasker.subscribe('late', '{task.failed}')");
    inside::read_all(&mut run.session, "late");
    let task = run.linear();
    run.finish(task);
    run.session.execute(
        "SET tasker.max_subscriber_lag = 0; SELECT tasker.purge_tasks('0', include_failed => true)",
    );
    run.polled(
        "A subscriber is behind, and purge does not wait: its next poll",
        "late",
    );
}
