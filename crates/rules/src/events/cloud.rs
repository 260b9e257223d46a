//! An event as a CloudEvent: version 1.0 of its specification, in the JSON format.

use serde_json::{Map, Value};

/// What an event says.
#[derive(Debug)]
pub struct Cloud<'e> {
    /// Its number, which identifies it in its database.
    pub id: i64,
    /// As [`source`] makes it.
    pub source: String,
    /// Its canonical name.
    pub name: &'e str,
    /// When it happened, as [`super::time::iso`] writes it.
    pub time: String,
    /// The task that it is about.
    pub task: Option<String>,
    /// The step that it is about.
    pub step: Option<String>,
    /// Its namespace.
    pub namespace: Option<&'e str>,
    /// That of its task.
    pub correlation_id: Option<&'e str>,
    /// Names the span that it is about: of its run, or of its task.
    pub traceparent: Option<&'e str>,
}

/// Which database an event comes from: its name, and behind that the epoch in which the event was written, unless it is the first. A
/// relative reference, as RFC 3986 has it.
pub fn source(database: &str, epoch: i64) -> String {
    let mut source = "/tasker/".to_owned();
    for byte in database.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            source.push(char::from(byte));
        } else {
            source.push_str(&format!("%{byte:02X}"));
        }
    }
    if epoch != 0 {
        source.push_str(&format!("/{epoch}"));
    }
    source
}

/// The text as a value of an attribute. The specification excludes control characters and those that stand for none.
fn text(text: &str) -> Value {
    let excluded = |c: char| {
        let code = u32::from(c);
        c.is_control() || (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
    };
    let allowed: String = text
        .chars()
        .map(|c| if excluded(c) { '\u{FFFD}' } else { c })
        .collect();
    Value::String(allowed)
}

impl Cloud<'_> {
    /// The whole object, with the payload as its data.
    pub fn object(&self, data: Map<String, Value>) -> Map<String, Value> {
        let subject = match (&self.task, &self.step) {
            (Some(task), Some(step)) => Some(format!("task/{task}/step/{step}")),
            (Some(task), None) => Some(format!("task/{task}")),
            (None, _) => None,
        };
        let id = self.id.to_string();
        let attributes = [
            ("specversion", Some("1.0")),
            ("id", Some(&*id)),
            ("source", Some(&*self.source)),
            ("type", Some(self.name)),
            ("time", Some(&*self.time)),
            ("subject", subject.as_deref()),
            ("namespace", self.namespace),
            ("correlationid", self.correlation_id),
            ("traceparent", self.traceparent),
            ("datacontenttype", Some("application/json")),
        ];
        let said = |(name, value): (&str, Option<&str>)| {
            let value = value.filter(|value| !value.is_empty())?;
            Some((name.to_owned(), text(value)))
        };
        let mut object: Map<String, Value> = attributes.into_iter().filter_map(said).collect();
        object.insert("data".to_owned(), Value::Object(data));
        object
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paid() -> Cloud<'static> {
        Cloud {
            id: 4711,
            source: source("shop", 0),
            name: "orders.paid",
            time: "2026-01-31T12:00:00.000000Z".to_owned(),
            task: None,
            step: None,
            namespace: None,
            correlation_id: None,
            traceparent: None,
        }
    }

    #[test]
    fn an_event_of_nothing_has_the_attributes_that_each_has() {
        assert_eq!(
            Value::Object(paid().object(Map::from_iter([("n".to_owned(), 1.into())]))),
            json!({
                "specversion": "1.0", "id": "4711", "source": "/tasker/shop", "type": "orders.paid",
                "time": "2026-01-31T12:00:00.000000Z", "datacontenttype": "application/json", "data": {"n": 1},
            })
        );
    }

    #[test]
    fn an_event_of_a_step_says_its_task_and_what_that_brings() {
        let cloud = Cloud {
            task: Some("t".to_owned()),
            step: Some("s".to_owned()),
            namespace: Some("shop"),
            correlation_id: Some("order\n1\u{FFFF}"),
            traceparent: Some("00-a-b-01"),
            ..paid()
        };
        let object = cloud.object(Map::new());
        assert_eq!(object["subject"], "task/t/step/s");
        assert_eq!(object["namespace"], "shop");
        assert_eq!(object["correlationid"], "order\u{FFFD}1\u{FFFD}");
        assert_eq!(object["traceparent"], "00-a-b-01");
        let cloud = Cloud {
            task: Some("t".to_owned()),
            correlation_id: Some(""),
            ..paid()
        };
        let object = cloud.object(Map::new());
        assert_eq!(object["subject"], "task/t");
        assert_eq!(object.get("correlationid"), None);
    }

    #[test]
    fn a_source_is_a_relative_reference_whatever_the_name_of_the_database() {
        assert_eq!(source("shop", 0), "/tasker/shop");
        assert_eq!(source("shop", 1_764_470_000), "/tasker/shop/1764470000");
        assert_eq!(
            source("Mein Laden/ö?#%", 0),
            "/tasker/Mein%20Laden%2F%C3%B6%3F%23%25"
        );
    }
}
