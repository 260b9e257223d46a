//! What background processes do on their own, started while a database or their role has these settings.

use std::time::{Duration, Instant};

use tasker_client_tests::server::Server;
use tasker_client_tests::{Session, Template, Uuid, database, inside, json, patience};

use super::{Way, hostile};

/// A server with background processes, and a session that was there before any setting.
pub struct Scene {
    server: Server,
    session: Session,
    /// When the processes last began.
    started_at: String,
}

impl Scene {
    pub fn new() -> Self {
        let server = Server::start(&[
            "shared_preload_libraries=tasker_ext",
            "max_worker_processes=24",
        ]);
        let mut session = server.connect("postgres");
        hostile::prepare_server(&mut session);
        database::install(&mut session);
        session.execute(hostile::SURROUNDINGS);
        session.execute(
            r#"CREATE TABLE public.effects (step jsonb);
             CREATE FUNCTION public.effect(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
             BEGIN
                 IF step->>'step_name' = 'second' AND step->>'attempt' = '1' THEN RAISE EXCEPTION 'not yet: €'; END IF;
                 INSERT INTO public.effects VALUES (step);
                 RETURN jsonb_build_object('context', step->'context');
             END $$"#,
        );
        Template::new("inside")
            .step_with("first", &[], json!({"handler": "sql:public.effect"}))
            .step_with(
                "second",
                &["first"],
                json!({"handler": "sql:public.effect", "retry": {"backoff": "linear", "backoff_base_ms": 1, "jitter": 0}}),
            )
            .register(&mut session);
        Template::new("outside")
            .step("only", &[])
            .register(&mut session);
        Template::new("late")
            .with("timeout_seconds", json!(1))
            .step("only", &[])
            .register(&mut session);
        Self {
            server,
            session,
            started_at: String::new(),
        }
    }

    #[track_caller]
    fn soon(&mut self, what: &str, mut done: impl FnMut(&mut Session) -> bool) {
        let began = Instant::now();
        while !done(&mut self.session) {
            assert!(
                began.elapsed() < patience(30),
                "{what}\n{}",
                self.server.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Gives the settings to what background processes start with, and starts all of them again.
    pub fn start_with(&mut self, way: Way, settings: &[(String, &str)]) {
        let of = match way {
            Way::Database => "ALTER DATABASE postgres",
            // Background processes begin as the role that the cluster was made with.
            Way::Role => "ALTER ROLE postgres",
            Way::RoleInDatabase => "ALTER ROLE postgres IN DATABASE postgres",
            Way::Session => {
                unreachable!("no client has the session of a background process")
            }
        };
        for reset in [
            "ALTER DATABASE postgres",
            "ALTER ROLE postgres",
            "ALTER ROLE postgres IN DATABASE postgres",
        ] {
            self.session.execute(&format!("{reset} RESET ALL"));
        }
        for (setting, value) in settings {
            let value = if setting == "search_path" {
                (*value).to_owned()
            } else {
                format!("'{value}'")
            };
            self.session
                .execute(&format!("{of} SET {setting} = {value}"));
        }
        self.started_at = self.session.one("SELECT clock_timestamp()::text", &[]);
        inside::wake_launcher(&mut self.session);
        let ended: Vec<i32> = self.session.all(
            "SELECT pid FROM tasker.background_workers WHERE kind <> 'launcher' AND pg_terminate_backend(pid, 10000)",
            &[],
        );
        self.soon("a coordinator and an executor", |session| {
            let kinds: Vec<String> = session.all(
                "SELECT DISTINCT kind FROM tasker.background_workers WHERE pid <> ALL ($1) AND kind <> 'launcher' AND state <> 'starting' ORDER BY 1",
                &[&ended],
            );
            kinds == ["coordinator", "executor"]
        });
    }

    /// Every kind of work that no call asks for. The tasks have a text that few encodings have.
    pub fn run(&mut self) {
        let context = json!({"text": "€ \\ 10,50", "number": 0.1});
        let began = self.started_at.clone();
        let session = &mut self.session;
        let inside: Uuid = session.create_with("inside", &context);
        let late = session.create("late");
        let outside = session.create("outside");
        session.query(
            "SELECT * FROM tasker.claim_steps('lost', max_steps => 100, lease => '10 milliseconds')",
            &[],
        );
        session.query(
            "SELECT tasker.schedule_task('each', '* * * * * *', 'outside')",
            &[],
        );
        self.soon("the lease is taken over", |session| {
            session.step_state(outside, "only") == "error"
        });
        self.soon("the task of handlers is complete", |session| {
            session.task_state(inside) == "complete"
        });
        self.soon("the late task is in error", |session| {
            session.task_state(late) == "error"
        });
        self.soon("the schedule fires", |session| {
            session.count("SELECT count(*) FROM tasker.schedule_runs WHERE decided_at > $1::text::timestamptz", &[&began]) > 0
        });
        let mut missing = vec![];
        self.soon("every duty has run", |session| {
            let idle: Vec<String> = session.all(
                "SELECT concat_ws(' ', duty, last_run_at, problem) FROM tasker.maintenance_duties
                 WHERE (last_run_at > $1::text::timestamptz) IS NOT TRUE",
                &[&began],
            );
            if missing != idle {
                println!("still to run: {idle:?}");
            }
            missing = idle;
            missing.is_empty()
        });
        let session = &mut self.session;
        assert_eq!(
            session.steps(inside),
            ["first complete/1", "second complete/2"]
        );
        assert_eq!(
            session.results(inside, "second"),
            json!({ "context": context })
        );
        let failed: Vec<String> = session.all("SELECT concat_ws(' ', duty, last_error) FROM tasker.maintenance_duties WHERE failures > 0", &[]);
        assert_eq!(failed, Vec::<String>::new());
        assert_eq!(session.disagreements(), Vec::<String>::new());
        session.execute("SELECT tasker.unschedule_task('each'); SELECT tasker.cancel_task(t.task_uuid) FROM tasker.tasks t WHERE NOT t.complete AND t.state IN ('pending', 'in_progress')");
    }

    /// What the processes could not do, since the server started.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.server.log();
        let lines = log.lines().filter(|line| {
            line.contains("tasker_ext:") && (line.contains("cannot") || line.contains("failed"))
        });
        lines.map(str::to_owned).collect()
    }
}
