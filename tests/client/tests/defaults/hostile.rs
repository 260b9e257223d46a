//! The settings that a database, a role or a session can have, each with the value that is most in the way.

use tasker_client_tests::Session;

/// What a session meets that has the setting. Background processes meet nothing.
pub enum Meets {
    Nothing,
    /// Everything works, but slowly; it is tried alone.
    Delay,
    /// The calls that write are refused with this SQLSTATE, for this reason; what only reads works.
    Refusal(&'static str, &'static str),
    /// It is ended as soon as it waits for its client.
    End,
}
use Meets::{Delay, End, Nothing, Refusal};

/// Settings that belong together.
pub struct Hostile {
    pub settings: Vec<(String, &'static str)>,
    pub meets: Meets,
}

impl Hostile {
    fn new(name: &str, value: &'static str, meets: Meets) -> Self {
        Self {
            settings: vec![(name.to_owned(), value)],
            meets,
        }
    }

    fn with(mut self, name: &str, value: &'static str) -> Self {
        self.settings.push((name.to_owned(), value));
        self
    }

    pub fn name(&self) -> String {
        let settings = self.settings.iter();
        let texts: Vec<String> = settings
            .map(|(name, value)| format!("{name} = {value}"))
            .collect();
        texts.join(", ")
    }

    pub fn refuses(&self) -> bool {
        matches!(self.meets, Refusal(..))
    }

    /// Whether a session can make all its calls.
    pub fn is_harmless(&self) -> bool {
        matches!(self.meets, Nothing | Delay)
    }
}

/// A locale into whose language PostgreSQL's messages are translated; `scripts/deps test` makes it.
pub const TRANSLATED: &str = "de_DE.UTF-8";

/// What the values name: a role, a schema that has PostgreSQL's own names, a tablespace and an access method.
pub const SURROUNDINGS: &str = "
    CREATE SCHEMA hostile;
    CREATE TABLE hostile.tasks (); CREATE TABLE hostile.steps (); CREATE TABLE hostile.workers ();
    CREATE FUNCTION hostile.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE 'hostile'; END $$;
    CREATE FUNCTION hostile.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE 'hostile'; END $$;
    CREATE FUNCTION hostile.length(text) RETURNS integer LANGUAGE plpgsql AS $$ BEGIN RAISE 'hostile'; END $$;
    CREATE FUNCTION hostile.unnest(anyarray) RETURNS SETOF anyelement LANGUAGE plpgsql AS $$ BEGIN RAISE 'hostile'; END $$;
    CREATE FUNCTION hostile.to_jsonb(anyelement) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE 'hostile'; END $$;
    GRANT USAGE ON SCHEMA hostile TO PUBLIC;
    CREATE ACCESS METHOD other_heap TYPE TABLE HANDLER heap_tableam_handler;";

/// What is there once per server.
pub fn prepare_server(session: &mut Session) {
    session.execute("CREATE ROLE plain");
    session.execute("SET allow_in_place_tablespaces = on");
    session.execute("CREATE TABLESPACE elsewhere LOCATION ''");
}

/// Every setting; those of the planner as this version of PostgreSQL has them.
pub fn all(session: &mut Session) -> Vec<Hostile> {
    let plain = |name, value| Hostile::new(name, value, Nothing);
    let mut all = vec![
        Hostile::new(
            "default_transaction_isolation",
            "serializable",
            Refusal(
                "25001",
                "with one snapshot for a transaction the last two reports could miss each other",
            ),
        ),
        Hostile::new(
            "default_transaction_read_only",
            "on",
            Refusal("25006", "the session asks to write nothing"),
        ),
        plain("default_transaction_deferrable", "on"),
        Hostile::new(
            "statement_timeout",
            "1",
            Refusal("57014", "the session asks to wait no longer"),
        ),
        plain("lock_timeout", "1"),
        // A call is one statement; between two of them no transaction is open.
        plain("idle_in_transaction_session_timeout", "1"),
        Hostile::new("idle_session_timeout", "1", End),
        Hostile::new(
            "role",
            "plain",
            Refusal("42501", "the role may call nothing"),
        ),
        plain("search_path", "hostile, pg_catalog"),
        plain("session_replication_role", "replica"),
        plain("row_security", "off"),
        plain("DateStyle", "German, DMY"),
        plain("IntervalStyle", "sql_standard"),
        plain("TimeZone", "America/St_Johns"),
        plain("client_encoding", "LATIN1"),
        plain("lc_messages", TRANSLATED),
        plain("bytea_output", "escape"),
        plain("extra_float_digits", "-15"),
        plain("standard_conforming_strings", "off"),
        plain("transform_null_equals", "on"),
        plain("array_nulls", "off"),
        plain("plan_cache_mode", "force_custom_plan"),
        // Plans that are switched off look expensive, so that every statement would be compiled.
        plain("jit", "off"),
        Hostile::new("jit", "on", Delay).with("jit_above_cost", "0"),
        plain("work_mem", "64kB"),
        plain("temp_file_limit", "0"),
        plain("default_tablespace", "elsewhere"),
        plain("default_table_access_method", "other_heap"),
        plain("synchronous_commit", "off"),
        plain("check_function_bodies", "off"),
        plain("quote_all_identifiers", "on"),
        plain("client_min_messages", "debug5"),
        Hostile::new("max_parallel_workers_per_gather", "8", Delay)
            .with("parallel_setup_cost", "0")
            .with("parallel_tuple_cost", "0")
            .with("min_parallel_table_scan_size", "0")
            .with("min_parallel_index_scan_size", "0"),
    ];
    let known: Vec<String> = session.all(
        "SELECT name FROM pg_settings WHERE name = ANY ('{default_toast_compression,force_parallel_mode,debug_parallel_query}')",
        &[],
    );
    all.extend(known.iter().map(|name| match name.as_str() {
        "default_toast_compression" => Hostile::new(name, "lz4", Nothing),
        // Each statement starts a process.
        _ => Hostile::new(name, "on", Delay),
    }));
    let planner: Vec<(String, bool)> = session
        .query("SELECT name, boot_val = 'on' FROM pg_settings WHERE name LIKE 'enable\\_%' ORDER BY name", &[])
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    assert!(planner.len() > 15, "{planner:?}");
    all.extend(
        planner
            .iter()
            .map(|(name, on)| Hostile::new(name, if *on { "off" } else { "on" }, Nothing)),
    );
    all
}
