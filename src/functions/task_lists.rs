//! What lists of tasks ask of the rules.

use tasker_rules::engine::identity;

use crate::error::Result;
use crate::pg::call::{Call, Output};
use crate::pg::memory;

crate::pg::call::sql_function! {
    key_identity;
}

fn key_identity(call: &mut Call) -> Result<Output> {
    let (namespace, name): (String, String) =
        (call.get(0, "namespace_name")?, call.get(1, "name")?);
    let key: String = call.get(2, "idempotency_key")?;
    memory::require_json([&namespace, &name, &key].into_iter().map(String::as_str));
    Ok(Output::Text(identity::hash_of_key(&namespace, &name, &key)))
}
