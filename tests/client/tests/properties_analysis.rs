//! Random graphs that have run for a while: what the analysis says of them against plain models, written from the comments
//! of the functions. Nothing here is clever: longest paths are looked for once more for every question.
//!
//! A failure names its seed; `TASKER_SEED=... cargo test --test properties_analysis` repeats it alone. Levels and
//! relations of random graphs are compared in properties.rs.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use tasker_client_tests::worker::Ask;
use tasker_client_tests::{Database, Session, Template, Uuid, inside, json, scaled};

/// The parents of each step: indexes smaller than its own. Wide, deep or dense.
fn random_graph(rng: &mut Rng) -> Vec<Vec<usize>> {
    let size = match rng.u8(..4) {
        0 => rng.usize(1..=6),
        1 | 2 => rng.usize(7..=60),
        _ => rng.usize(61..=200),
    };
    let most = rng.usize(1..=4);
    let widest = if rng.bool() { 4 } else { size };
    let window = rng.usize(1..=widest);
    (0..size)
        .map(|index| {
            let parents = (0..rng.usize(0..=most.min(index)))
                .map(|_| rng.usize(index.saturating_sub(window)..index));
            parents.collect::<BTreeSet<usize>>().into_iter().collect()
        })
        .collect()
}

/// Length of the longest path; a step's own length is asked for by index.
fn longest(graph: &[Vec<usize>], length: impl Fn(usize) -> i64) -> i64 {
    ends(graph, length).into_iter().max().unwrap_or(0)
}

/// When each step ends if all begin as soon as they can.
fn ends(graph: &[Vec<usize>], length: impl Fn(usize) -> i64) -> Vec<i64> {
    let mut ends: Vec<i64> = vec![];
    for (index, parents) in graph.iter().enumerate() {
        let begin = parents.iter().map(|parent| ends[*parent]).max();
        ends.push(begin.unwrap_or(0) + length(index));
    }
    ends
}

struct Case {
    session: Session,
    rng: Rng,
    seed: u64,
    task: Uuid,
    graph: Vec<Vec<usize>>,
    steps: Vec<Uuid>,
    /// The outcome of a step, as a word of `blocker_standing`, `done` for a good end. A step that is not here is pending.
    made: BTreeMap<usize, &'static str>,
}

impl Case {
    fn new(database: &Database, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut session = database.connect();
        let graph = random_graph(&mut rng);
        let name = format!("case_{seed}");
        let mut order: Vec<usize> = (0..graph.len()).collect();
        rng.shuffle(&mut order);
        let template = Template::new(&name).with("namespace_name", json!(name));
        let template = order.iter().fold(template, |template, index| {
            let parents: Vec<String> = graph[*index].iter().map(|no| format!("s{no}")).collect();
            let parents: Vec<&str> = parents.iter().map(String::as_str).collect();
            // Nothing runs out of attempts, so that a failure is permanent only if it says so.
            let fields = json!({ "default_retryable": true, "default_retry_limit": 100 });
            template.step_with(&format!("s{index}"), &parents, fields)
        });
        template.register(&mut session);
        let task = session.one("SELECT tasker.create_task($1, namespace => $1)", &[&name]);
        let steps = (0..graph.len())
            .map(|index| session.step(task, &format!("s{index}")))
            .collect();
        Self {
            session,
            rng,
            seed,
            task,
            graph,
            steps,
            made: BTreeMap::new(),
        }
    }

    fn index(&self, step: Uuid) -> usize {
        let found = self.steps.iter().position(|known| *known == step);
        found.unwrap_or_else(|| panic!("TASKER_SEED={}: a step of another task", self.seed))
    }

    #[track_caller]
    fn same<T: PartialEq + std::fmt::Debug>(&self, what: &str, shown: T, wanted: T) {
        assert!(
            shown == wanted,
            "TASKER_SEED={}: {what}\n  extension {shown:?}\n  model     {wanted:?}\n  made {:?}",
            self.seed,
            self.made
        );
    }

    // --- What happens.

    fn work(&mut self) {
        let namespace = format!("case_{}", self.seed);
        let ask = Ask {
            namespaces: vec![&namespace],
            ..Ask::by("worker", self.rng.i32(1..=20))
        };
        for claim in self.session.claim(&ask) {
            let index = self.index(claim.step);
            let mut report = claim.failed(true);
            let became = match self.rng.u8(..20) {
                0..13 => {
                    report = claim.done(json!({}));
                    "done"
                }
                13..15 => "ready",
                15 => {
                    report["retry_after_seconds"] = json!(200);
                    "retrying"
                }
                16 => {
                    report = claim.failed(false);
                    "failed"
                }
                _ => "running",
            };
            self.made.insert(index, became);
            if became == "running" {
                continue;
            }
            self.session.query(
                "SELECT tasker.report_steps('worker', $1)",
                &[&json!([report])],
            );
            // Runs of whole tenths of a second: paths of equal length are not rare.
            let seconds = f64::from(self.rng.u8(..8)) / 10.0;
            inside::set_run(&mut self.session, claim.step, seconds);
        }
    }

    fn operate(&mut self) {
        let pending: Vec<usize> = (0..self.graph.len())
            .filter(|index| self.standing(*index) == "waiting" || self.standing(*index) == "ready")
            .filter(|index| !self.made.contains_key(index))
            .collect();
        if pending.is_empty() {
            return;
        }
        let index = pending[self.rng.usize(..pending.len())];
        let (call, became) = match self.rng.u8(..4) {
            0 => ("cancel_step", "cancelled"),
            1 if self.standing(index) == "ready" => {
                inside::postpone(&mut self.session, self.steps[index], 200);
                self.made.insert(index, "scheduled");
                return;
            }
            _ => ("resolve_step_manually", "done"),
        };
        self.session
            .query(&format!("SELECT tasker.{call}($1)"), &[&self.steps[index]]);
        self.made.insert(index, became);
    }

    // --- The models.

    fn done(&self, index: usize) -> bool {
        self.made.get(&index) == Some(&"done")
    }

    fn standing(&self, index: usize) -> &'static str {
        let waits = self.graph[index].iter().any(|parent| !self.done(*parent));
        match self.made.get(&index) {
            Some(made) => made,
            None if waits => "waiting",
            None => "ready",
        }
    }

    /// Every unfinished ancestor that no finished step lies before.
    fn open_ancestors(&self, index: usize, found: &mut BTreeSet<usize>) {
        for parent in &self.graph[index] {
            if !self.done(*parent) && found.insert(*parent) {
                self.open_ancestors(*parent, found);
            }
        }
    }

    fn compare_blockers(&mut self) {
        let mut wanted = BTreeSet::new();
        for index in 0..self.graph.len() {
            if self.standing(index) != "waiting" {
                continue;
            }
            let mut ancestors = BTreeSet::new();
            self.open_ancestors(index, &mut ancestors);
            for other in ancestors {
                let standing = self.standing(other);
                let direct = self.graph[index].contains(&other);
                let root_cause = standing != "waiting";
                wanted.insert((index, other, standing.to_owned(), direct, root_cause));
            }
        }
        let rows = self.session.query(
            "SELECT step_uuid, blocker_step_uuid, blocker_standing, direct, root_cause FROM tasker.task_blockers($1)",
            &[&self.task],
        );
        let shown: BTreeSet<(usize, usize, String, bool, bool)> = rows
            .iter()
            .map(|row| {
                let (step, blocker) = (self.index(row.get(0)), self.index(row.get(1)));
                (step, blocker, row.get(2), row.get(3), row.get(4))
            })
            .collect();
        self.same("every row once", rows.len(), shown.len());
        self.same("blockers", shown, wanted);
    }

    /// The schedule is what its own durations make of it; returns these, in microseconds.
    fn compare_schedule(&mut self) -> Vec<i64> {
        let rows = self.session.query(
            "SELECT step_uuid, (1000000 * extract(epoch FROM duration))::bigint, (1000000 * extract(epoch FROM starts_after))::bigint,
                    (1000000 * extract(epoch FROM ends_after))::bigint, (1000000 * extract(epoch FROM slack))::bigint,
                    (1000000 * extract(epoch FROM drag))::bigint, is_critical
             FROM tasker.task_schedule($1)",
            &[&self.task],
        );
        let shown: BTreeMap<usize, [i64; 5]> = rows
            .iter()
            .map(|row| {
                let times = [1, 2, 3, 4, 5].map(|column| row.get::<_, i64>(column));
                (self.index(row.get(0)), times)
            })
            .collect();
        self.same("every step once", shown.len(), self.graph.len());
        let durations: Vec<i64> = shown.values().map(|times| times[0]).collect();
        let total = longest(&self.graph, |index| durations[index]);
        let ends = ends(&self.graph, |index| durations[index]);
        let wanted = (0..self.graph.len()).map(|index| {
            // As long as nothing else can be: then every longest path goes through this step, and what it is longer
            // by than the step tells the longest path through it.
            const ENDLESS: i64 = 1 << 50;
            let with = |length: i64| {
                longest(&self.graph, |other| {
                    if other == index {
                        length
                    } else {
                        durations[other]
                    }
                })
            };
            let through = with(ENDLESS) - ENDLESS + durations[index];
            let begin = ends[index] - durations[index];
            let times = [
                durations[index],
                begin,
                ends[index],
                total - through,
                total - with(0),
            ];
            (index, times)
        });
        let wanted: BTreeMap<usize, [i64; 5]> = wanted.collect();
        self.same("duration, start, end, slack and drag", &shown, &wanted);
        for row in &rows {
            let (slack, critical): (i64, bool) = (row.get(4), row.get(6));
            self.same("critical is what has no slack", critical, slack == 0);
            assert!(slack >= 0, "TASKER_SEED={}: slack {slack}", self.seed);
        }
        durations
    }

    /// The path leads through the graph from a root to a leaf, and none is longer. What runs goes on meanwhile: so it is as long as
    /// the longest path was before or will be after, or something between.
    fn compare_critical_path(&mut self) {
        let before = self.compare_schedule();
        let rows = self.session.query(
            "SELECT step_uuid, position, (1000000 * extract(epoch FROM duration))::bigint, slack = '0' FROM tasker.task_critical_path($1)",
            &[&self.task],
        );
        let after = self.compare_schedule();
        let path: Vec<usize> = rows.iter().map(|row| self.index(row.get(0))).collect();
        let positions: Vec<i32> = rows.iter().map(|row| row.get(1)).collect();
        self.same("positions", positions, (1..=path.len() as i32).collect());
        for pair in path.windows(2) {
            let joined = self.graph[pair[1]].contains(&pair[0]);
            self.same("a step and its child", joined, true);
        }
        let (first, last) = (path[0], path[path.len() - 1]);
        let leaf = !self.graph.iter().any(|parents| parents.contains(&last));
        self.same(
            "from a root to a leaf",
            (self.graph[first].len(), leaf),
            (0, true),
        );
        let total: i64 = rows.iter().map(|row| row.get::<_, i64>(2)).sum();
        let bounds = longest(&self.graph, |index| before[index])..=longest(&self.graph, |index| {
            after[index]
        });
        assert!(
            bounds.contains(&total),
            "TASKER_SEED={}: the path takes {total} us, the longest {bounds:?}",
            self.seed
        );
        let critical = rows.iter().all(|row| row.get(3));
        self.same("nothing on the path has slack", critical, true);
    }
}

/// How many steps, how many of them not done at the end, and whether some had failed permanently.
fn run(database: &Database, seed: u64) -> (usize, usize, bool) {
    let mut case = Case::new(database, seed);
    for round in 0..10 {
        if round % 3 == 0 {
            case.compare_critical_path();
        }
        case.compare_blockers();
        case.work();
        if case.rng.bool() {
            case.operate();
        }
    }
    case.compare_critical_path();
    case.compare_blockers();
    let open = (0..case.graph.len())
        .filter(|index| !case.done(*index))
        .count();
    (
        case.graph.len(),
        open,
        case.made.values().any(|made| *made == "failed"),
    )
}

#[test]
fn schedules_critical_paths_and_blockers_are_what_plain_models_say() {
    let database = Database::new();
    if let Some(seed) = std::env::var("TASKER_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
    {
        run(&database, seed);
        return;
    }
    let first = fastrand::u64(..1_000_000_000);
    let ran: Vec<(usize, usize, bool)> = (0..scaled(20, 300) as u64)
        .map(|case| run(&database, first + case))
        .collect();
    // Cases that are all tiny, all done or never fail would prove little.
    assert!(ran.iter().any(|(size, ..)| *size > 60));
    assert!(ran.iter().any(|(_, open, _)| *open > 0));
    assert!(ran.iter().any(|(.., failed)| *failed));
}
