//! `set_operational_state`, and the rules of the operational states for the views.

use tasker_rules::operations::operational::OperationalState;

use crate::error::{Error, Result};
use crate::orchestration::{Engine, operational};
use crate::pg::call::{Call, Output, shortened};
use crate::pg::datum;
use crate::pg::rights;
use crate::pg::spi::Session;
use crate::settings;

crate::pg::call::sql_function! {
    set_operational_state;
    begin_startup;
    duty_startup;
    operational_rules;
}

fn set_operational_state(call: &mut Call) -> Result<Output> {
    let name: String = call.get(0, "state")?;
    let to: OperationalState = name.parse().map_err(|_| {
        Error::parameter(format!("unknown state \"{}\"", shortened(&name)))
            .detail("It is the state of the whole system.")
            .hint("Use startup, normal, graceful_shutdown, emergency or stopped.")
    })?;
    let (reason, force) = (call.opt_text(1), call.get(2, "force")?);
    let state = rights::as_owner(|caller| {
        let by = rights::role_name(caller);
        let session = Session::open()?;
        let mut engine = Engine::open(&session)?;
        let state = operational::set(&mut engine, to, &by, reason.as_deref(), force)?;
        engine.close()?;
        Ok(state)
    })?;
    Ok(Output::from(state.as_str()))
}

fn begin_startup(_: &mut Call) -> Result<Output> {
    let session = Session::open()?;
    let mut engine = Engine::open(&session)?;
    let state = operational::begin_startup(&mut engine)?;
    engine.close()?;
    Ok(Output::from(state.as_str()))
}

fn duty_startup(_: &mut Call) -> Result<Output> {
    let session = Session::open()?;
    let mut engine = Engine::open(&session)?;
    let ended = operational::end_startup(&mut engine)?;
    engine.close()?;
    Ok(Output::from(i64::from(ended)))
}

fn operational_rules(call: &mut Call) -> Result<Output> {
    let multipliers = settings::health_multipliers();
    for state in OperationalState::ALL {
        let next = state.next_states().iter().map(|next| Some(next.as_str()));
        call.row(&[
            datum::text(state.as_str()),
            datum::boolean(state.hands_out_work()),
            datum::boolean(state.suppresses_alerts()),
            datum::boolean(state.is_monitored()),
            datum::boolean(state.is_transitional()),
            datum::float8(state.health_multiplier(multipliers)),
            datum::texts(next),
        ])?;
    }
    Ok(Output::Rows)
}
