//! The states of tasks and steps as the `"char"` columns that hold them.

use pgrx::pg_sys::{self, Datum, Oid};
use tasker_rules::engine::state::{StepState, TaskState};

use super::arrays::array;
use super::{Arg, FromColumn};
use crate::error::Error;

/// A state that a column can hold.
pub trait State: Copy {
    fn letter(self) -> u8;
}

impl State for TaskState {
    fn letter(self) -> u8 {
        self.code()
    }
}

impl State for StepState {
    fn letter(self) -> u8 {
        self.code()
    }
}

fn datum(state: impl State) -> Datum {
    Datum::from(state.letter() as i8)
}

pub fn state(value: impl State) -> Arg<'static> {
    Arg::made(datum(value), pg_sys::CHAROID)
}

pub fn states<S: State>(values: impl IntoIterator<Item = S>) -> Arg<'static> {
    let mut items: Vec<Datum> = values.into_iter().map(datum).collect();
    array(
        pg_sys::CHARARRAYOID,
        pg_sys::CHAROID,
        1,
        true,
        pg_sys::TYPALIGN_CHAR,
        &mut items,
    )
}

fn known<S>(state: Option<S>, datum: Datum) -> S {
    state.unwrap_or_else(|| {
        let letter = char::from(datum.value() as u8);
        Error::corrupt(format!(
            "a row has the state {letter:?}, which does not exist"
        ))
        .detail("Something other than the engine has written to its tables.")
        .hint("Restore the row from a backup.")
        .raise("tasker_ext")
    })
}

impl FromColumn for TaskState {
    const TYPES: &'static [Oid] = &[pg_sys::CHAROID];
    unsafe fn from_column(datum: Datum) -> Self {
        known(Self::from_code(datum.value() as u8), datum)
    }
}

impl FromColumn for StepState {
    const TYPES: &'static [Oid] = &[pg_sys::CHAROID];
    unsafe fn from_column(datum: Datum) -> Self {
        known(Self::from_code(datum.value() as u8), datum)
    }
}
