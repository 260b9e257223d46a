//! The directed acyclic graph of a template's steps.
//!
//! Everything is linear in steps and edges (a heap adds a logarithm to the order) and nothing recurses, so that 32,767
//! steps in one chain are as safe as three. Steps are numbered from 1 in topological order; where the order is free, the
//! step that comes first in the template gets the lower number.

mod order;

use std::collections::HashMap;

use crate::engine::ids::MAX_STEPS;
use order::{find_cycles, topological_order};

/// The most dependencies that a template may have when it is registered: three for each step of the largest one, or 316 steps that
/// each wait for 316 others. Every list of edges and every analysis takes memory in proportion. A graph itself can have more.
pub const MAX_EDGES: usize = 100_000;

/// Why a set of names and edges is no DAG.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// More steps than a step number can count.
    #[error("{0} steps; at most {MAX_STEPS} are possible")]
    TooManySteps(usize),
    /// Two steps with one name.
    #[error("step {0:?} is defined twice")]
    DuplicateStep(String),
    /// An edge that begins or ends nowhere; `step` depends on `unknown`.
    #[error("step {step:?} depends on {unknown:?}, which does not exist")]
    UnknownStep {
        /// The step that has the dependency.
        step: String,
        /// The name that no step has.
        unknown: String,
    },
    /// The same edge a second time.
    #[error("step {step:?} depends on {parent:?} twice")]
    DuplicateEdge {
        /// The step that has the dependency.
        step: String,
        /// The dependency that is named twice.
        parent: String,
    },
    /// Each entry is one cycle: step names in the order in which they would run, the first one not repeated.
    #[error("{}", describe_cycles(.0))]
    Cycles(Vec<Vec<String>>),
}

/// `a -> b -> c -> a`: each step would have to run before the next one. A very long cycle is shortened in the middle.
pub fn describe_cycle<S: AsRef<str>>(cycle: &[S]) -> String {
    const SHOWN: usize = 12;
    let name = |index: usize| cycle[index].as_ref().to_owned();
    let mut parts: Vec<String> = if cycle.len() <= SHOWN {
        (0..cycle.len()).map(name).collect()
    } else {
        let mut start: Vec<_> = (0..SHOWN - 2).map(name).collect();
        start.push(format!("... {} more ...", cycle.len() - SHOWN + 1));
        start.push(name(cycle.len() - 1));
        start
    };
    if !cycle.is_empty() {
        parts.push(name(0));
    }
    parts.join(" -> ")
}

fn describe_cycles(cycles: &[Vec<String>]) -> String {
    let all: Vec<_> = cycles.iter().map(|cycle| describe_cycle(cycle)).collect();
    format!("the dependencies form a cycle: {}", all.join("; "))
}

/// The neighbours of every step in one array: `items[offsets[i]..offsets[i + 1]]` belongs to step `i + 1`, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Adjacency {
    offsets: Vec<u32>,
    items: Vec<i16>,
}

impl Adjacency {
    /// `pairs` of (owner, neighbour), sorted.
    fn new(steps: usize, pairs: &[(i16, i16)]) -> Self {
        let mut offsets = vec![0u32; steps + 1];
        for (owner, _) in pairs {
            offsets[*owner as usize] += 1;
        }
        for index in 1..=steps {
            offsets[index] += offsets[index - 1];
        }
        Self {
            offsets,
            items: pairs.iter().map(|pair| pair.1).collect(),
        }
    }

    fn of(&self, step_no: i16) -> &[i16] {
        let Ok(step) = usize::try_from(step_no) else {
            return &[];
        };
        if step == 0 || step >= self.offsets.len() {
            return &[];
        }
        &self.items[self.offsets[step - 1] as usize..self.offsets[step] as usize]
    }
}

/// A checked graph. Step numbers go from 1 to [`Dag::len`]; a number outside is treated as a step without neighbours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dag {
    names: Vec<String>,
    order: Vec<usize>,
    parents: Adjacency,
    children: Adjacency,
    levels: Vec<i16>,
    min_depths: Vec<i16>,
}

impl Dag {
    /// Builds the graph from step names in template order and edges (parent name, child name).
    ///
    /// Errors: the first finding of [`GraphError`], where all cycles count as one finding.
    pub fn from_names<N, P, C>(names: &[N], edges: &[(P, C)]) -> Result<Self, GraphError>
    where
        N: AsRef<str>,
        P: AsRef<str>,
        C: AsRef<str>,
    {
        let mut index_of = HashMap::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            if index_of.insert(name.as_ref(), index).is_some() {
                return Err(GraphError::DuplicateStep(name.as_ref().to_owned()));
            }
        }
        let mut indexed = Vec::with_capacity(edges.len());
        for (parent, child) in edges {
            let (parent, child) = (parent.as_ref(), child.as_ref());
            let find = |name: &str| {
                index_of
                    .get(name)
                    .copied()
                    .ok_or_else(|| GraphError::UnknownStep {
                        step: child.to_owned(),
                        unknown: name.to_owned(),
                    })
            };
            indexed.push((find(parent)?, find(child)?));
        }
        let names = names.iter().map(|name| name.as_ref().to_owned()).collect();
        Self::from_indexes(names, indexed)
    }

    /// Builds the graph from distinct step names in template order and edges (parent, child) as positions among them.
    ///
    /// An edge that points outside is left out; callers that read names use [`Dag::from_names`], which refuses it.
    pub(crate) fn from_indexes(
        names: Vec<String>,
        mut edges: Vec<(usize, usize)>,
    ) -> Result<Self, GraphError> {
        let steps = names.len();
        if steps > MAX_STEPS {
            return Err(GraphError::TooManySteps(steps));
        }
        edges.retain(|edge| edge.0 < steps && edge.1 < steps);
        edges.sort_unstable();
        if let Some(twice) = edges.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(GraphError::DuplicateEdge {
                step: names[twice[0].1].clone(),
                parent: names[twice[0].0].clone(),
            });
        }
        let order = topological_order(steps, &edges);
        if order.len() < steps {
            let cycles = find_cycles(steps, &edges);
            let named = |cycle: Vec<usize>| cycle.into_iter().map(|at| names[at].clone()).collect();
            return Err(GraphError::Cycles(cycles.into_iter().map(named).collect()));
        }
        Ok(Self::from_order(names, order, &edges))
    }

    fn from_order(names: Vec<String>, order: Vec<usize>, edges: &[(usize, usize)]) -> Self {
        let steps = names.len();
        let mut step_no = vec![0i16; steps];
        for (index, at) in order.iter().enumerate() {
            step_no[*at] = (index + 1) as i16;
        }
        let mut down: Vec<(i16, i16)> = edges
            .iter()
            .map(|edge| (step_no[edge.0], step_no[edge.1]))
            .collect();
        down.sort_unstable();
        let mut up: Vec<(i16, i16)> = down.iter().map(|pair| (pair.1, pair.0)).collect();
        up.sort_unstable();
        let parents = Adjacency::new(steps, &up);
        let children = Adjacency::new(steps, &down);

        // In topological order every parent's figures are final before they are needed.
        let (mut levels, mut min_depths) = (vec![0i16; steps], vec![0i16; steps]);
        for step in 1..=steps {
            let above = parents.of(step as i16);
            let best = |of: &[i16], pick: fn(i16, i16) -> i16| {
                above
                    .iter()
                    .map(|parent| of[*parent as usize - 1] + 1)
                    .reduce(pick)
                    .unwrap_or(0)
            };
            levels[step - 1] = best(&levels, i16::max);
            min_depths[step - 1] = best(&min_depths, i16::min);
        }
        let mut slots: Vec<Option<String>> = names.into_iter().map(Some).collect();
        let names = order
            .iter()
            .map(|at| slots[*at].take().unwrap_or_default())
            .collect();
        Self {
            names,
            order,
            parents,
            children,
            levels,
            min_depths,
        }
    }

    /// Number of steps.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// True for a graph without steps.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Number of edges.
    pub fn edge_count(&self) -> usize {
        self.children.items.len()
    }

    /// All edges as (parent, child), ascending.
    pub fn edges(&self) -> impl Iterator<Item = (i16, i16)> + '_ {
        self.step_nos().flat_map(move |parent| {
            self.children(parent)
                .iter()
                .map(move |child| (parent, *child))
        })
    }

    /// The step numbers, 1 to [`Dag::len`].
    pub fn step_nos(&self) -> impl DoubleEndedIterator<Item = i16> + use<> {
        1..=self.names.len() as i16
    }

    /// Position of each step in the template, by step number: entry 0 belongs to step 1.
    pub fn template_order(&self) -> &[usize] {
        &self.order
    }

    /// Name of a step; empty for a number outside.
    pub fn name(&self, step_no: i16) -> &str {
        self.slot(step_no).map_or("", |slot| &self.names[slot])
    }

    /// The steps that must be done before this one, ascending.
    pub fn parents(&self, step_no: i16) -> &[i16] {
        self.parents.of(step_no)
    }

    /// The steps that wait for this one, ascending.
    pub fn children(&self, step_no: i16) -> &[i16] {
        self.children.of(step_no)
    }

    /// Length of the longest path from a root: roots 0.
    pub fn level(&self, step_no: i16) -> i16 {
        self.slot(step_no).map_or(0, |slot| self.levels[slot])
    }

    /// Levels by step number: entry 0 belongs to step 1.
    pub fn levels(&self) -> &[i16] {
        &self.levels
    }

    /// Length of the shortest path from a root: roots 0.
    pub fn min_depth(&self, step_no: i16) -> i16 {
        self.slot(step_no).map_or(0, |slot| self.min_depths[slot])
    }

    /// The highest level; 0 for a graph without edges.
    pub fn max_level(&self) -> i16 {
        self.levels.iter().copied().max().unwrap_or(0)
    }

    /// How many steps each level has: entry 0 is the roots. The largest entry is the widest parallelism by level.
    pub fn level_widths(&self) -> Vec<usize> {
        let mut widths = vec![
            0;
            if self.is_empty() {
                0
            } else {
                self.max_level() as usize + 1
            }
        ];
        for level in &self.levels {
            widths[*level as usize] += 1;
        }
        widths
    }

    /// Steps without parents, ascending.
    pub fn roots(&self) -> Vec<i16> {
        self.step_nos()
            .filter(|step| self.parents(*step).is_empty())
            .collect()
    }

    /// Steps without children, ascending.
    pub fn leaves(&self) -> Vec<i16> {
        self.step_nos()
            .filter(|step| self.children(*step).is_empty())
            .collect()
    }

    /// Every step that waits for this one, directly or not; ascending, without the step itself. Computed by a walk.
    pub fn descendants(&self, step_no: i16) -> Vec<i16> {
        self.reach(step_no, &self.children)
    }

    /// Every step that this one waits for, directly or not; ascending, without the step itself. Computed by a walk.
    pub fn ancestors(&self, step_no: i16) -> Vec<i16> {
        self.reach(step_no, &self.parents)
    }

    fn slot(&self, step_no: i16) -> Option<usize> {
        let slot = usize::try_from(step_no).ok()?.checked_sub(1)?;
        (slot < self.names.len()).then_some(slot)
    }

    fn reach(&self, start: i16, along: &Adjacency) -> Vec<i16> {
        let mut seen = vec![false; self.len() + 1];
        let mut found = Vec::new();
        let mut next = vec![start];
        while let Some(step) = next.pop() {
            for neighbour in along.of(step) {
                let mark = &mut seen[*neighbour as usize];
                if !*mark {
                    *mark = true;
                    found.push(*neighbour);
                    next.push(*neighbour);
                }
            }
        }
        found.sort_unstable();
        found
    }
}
