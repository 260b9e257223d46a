//! Prints the JSON Schema of templates: `cargo run -q -p tasker_rules --example template-schema > docs/template.schema.json`.

fn main() {
    println!("{:#}", tasker_rules::template::json_schema());
}
