//! The depth of steps in the graph of their template.

use std::rc::Rc;

use tasker_rules::engine::ids;

use crate::error::Result;
use crate::pg::call::{Call, Output};
use crate::pg::datum;
use crate::pg::spi::Session;
use crate::readiness::{self, Facts, Tasks};

crate::pg::call::sql_function! {
    step_level;
    step_min_depth;
    calculate_dependency_levels;
}

fn facts_and_number(call: &Call) -> Result<(Rc<Facts>, i16)> {
    let template_id: i32 = call.get(0, "named_task_id")?;
    let no: i16 = call.get(1, "step_no")?;
    let facts = match readiness::kept_facts(template_id) {
        Some(facts) => facts,
        None => readiness::facts(&Session::open()?, template_id)?,
    };
    Ok((facts, no))
}

fn step_level(call: &mut Call) -> Result<Output> {
    let (facts, no) = facts_and_number(call)?;
    facts.level(no).map(Output::from)
}

fn step_min_depth(call: &mut Call) -> Result<Output> {
    let (facts, no) = facts_and_number(call)?;
    facts.min_depth(no).map(Output::from)
}

fn calculate_dependency_levels(call: &mut Call) -> Result<Output> {
    let task = call.uuid(0, "task_uuid")?;
    let session = Session::open()?;
    for reading in &readiness::read(&session, &Tasks::One(&task))? {
        let mut levels: Vec<(i32, i16)> = reading
            .steps
            .iter()
            .map(|step| Ok((reading.facts.level(step.no)?, step.no)))
            .collect::<Result<_>>()?;
        levels.sort_unstable();
        for (level, no) in levels {
            call.row(&[datum::uuid(&ids::step_uuid(&task, no)), datum::int4(level)])?;
        }
    }
    Ok(Output::Rows)
}
