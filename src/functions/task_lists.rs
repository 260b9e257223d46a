//! What lists of tasks ask of the rules.

use tasker_rules::engine::identity;

use crate::error::Result;
use crate::pg::call::{Call, Output};

crate::pg::call::sql_function! {
    key_identity;
}

fn key_identity(call: &mut Call) -> Result<Output> {
    let (namespace, name): (String, String) =
        (call.get(0, "namespace_name")?, call.get(1, "name")?);
    let key: String = call.get(2, "idempotency_key")?;
    Ok(Output::Text(identity::hash_of_key(&namespace, &name, &key)))
}
