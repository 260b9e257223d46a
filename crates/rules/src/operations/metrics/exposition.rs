//! The text format of Prometheus, version 0.0.4.

/// One line of the exposition, with what belongs to its family.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Name of the family, as in HELP and TYPE.
    pub family: String,
    /// Name of the sample: the family's, or that with _bucket, _sum or _count.
    pub name: String,
    /// counter, gauge or histogram.
    pub kind: String,
    /// One sentence.
    pub help: String,
    /// Labels and their values.
    pub labels: Vec<(String, String)>,
    /// The number.
    pub value: f64,
}

/// Writes samples family by family, each in the order given.
pub fn render(samples: &[Sample]) -> String {
    let mut families: Vec<&str> = Vec::new();
    for sample in samples {
        if !families.contains(&sample.family.as_str()) {
            families.push(&sample.family);
        }
    }
    let mut text = String::new();
    for family in families {
        let mut first = true;
        for sample in samples.iter().filter(|sample| sample.family == family) {
            if first {
                text += &format!("# HELP {family} {}\n", escaped_help(&sample.help));
                text += &format!("# TYPE {family} {}\n", sample.kind);
                first = false;
            }
            text += &sample.name;
            if !sample.labels.is_empty() {
                let labels: Vec<String> = sample
                    .labels
                    .iter()
                    .map(|(label, value)| format!("{label}=\"{}\"", escaped_value(value)))
                    .collect();
                text += &format!("{{{}}}", labels.join(","));
            }
            text += &format!(" {}\n", number(sample.value));
        }
    }
    text
}

fn escaped_help(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

fn escaped_value(text: &str) -> String {
    escaped_help(text).replace('"', "\\\"")
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(family: &str, labels: &[(&str, &str)], value: f64) -> Sample {
        Sample {
            family: family.to_owned(),
            name: family.to_owned(),
            kind: "counter".to_owned(),
            help: "Help\\ with\na break.".to_owned(),
            labels: labels
                .iter()
                .map(|(label, value)| ((*label).to_owned(), (*value).to_owned()))
                .collect(),
            value,
        }
    }

    #[test]
    fn families_stand_together_under_one_head() {
        let text = render(&[
            sample("one", &[], 1.0),
            sample("two", &[], 2.5),
            sample("one", &[("queue", "q"), ("namespace", "n")], 3.0),
        ]);
        assert_eq!(
            text,
            "# HELP one Help\\\\ with\\na break.\n# TYPE one counter\none 1\none{queue=\"q\",namespace=\"n\"} 3\n\
             # HELP two Help\\\\ with\\na break.\n# TYPE two counter\ntwo 2.5\n"
        );
    }

    #[test]
    fn label_values_are_escaped() {
        let text = render(&[sample("one", &[("queue", "a\"b\\c\nd")], 1.0)]);
        assert!(
            text.ends_with("one{queue=\"a\\\"b\\\\c\\nd\"} 1\n"),
            "{text}"
        );
    }

    #[test]
    fn numbers_are_those_of_the_format() {
        assert_eq!(number(f64::INFINITY), "+Inf");
        assert_eq!(number(f64::NEG_INFINITY), "-Inf");
        assert_eq!(number(f64::NAN), "NaN");
        assert_eq!(number(12_345_678_901.0), "12345678901");
        assert_eq!(number(0.000_001), "0.000001");
    }
}
