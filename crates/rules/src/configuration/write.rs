//! Values as the text of a file, for a loader that has replaced variables.

use serde_json::Value;

use super::Leaves;
use super::component::Component;

/// TOML with these values: a line per key, below the section of the component.
pub fn toml(component: Component, leaves: &Leaves) -> String {
    let mut text = format!("[{component}]\n");
    for (path, value) in leaves {
        text.push_str(path);
        text.push_str(" = ");
        write(value, &mut text);
        text.push('\n');
    }
    text
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Array(elements) => {
            text.push('[');
            for (number, element) in elements.iter().enumerate() {
                if number > 0 {
                    text.push_str(", ");
                }
                write(element, text);
            }
            text.push(']');
        }
        // As JSON writes it, but for the one control character that JSON does not escape.
        Value::String(_) => text.push_str(&value.to_string().replace('\u{7f}', "\\u007f")),
        other => text.push_str(&other.to_string()),
    }
}
