//! Links of a picture: addresses made from a template with places such as `{step_uuid}`.

/// What a template's places stand for.
pub type Places<'a> = [(&'a str, &'a str)];

/// Whether the template is empty (no link), or an address of http or https, or a relative one, whose places are all in
/// `known`. Nothing that a place stands for can change the scheme: what stands before the path is written in the template.
pub fn is_link_template(template: &str, known: &[&str]) -> bool {
    let lower = template.to_ascii_lowercase();
    let path = ["http://", "https://"]
        .iter()
        .find_map(|scheme| lower.strip_prefix(scheme));
    let has_scheme = lower
        .split(['/', '?', '#'])
        .next()
        .is_some_and(|first| first.contains(':'));
    let allowed = match path {
        // A host, and not one that a place stands for.
        Some(path) => path.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '['),
        None => !has_scheme,
    };
    allowed
        && parts(template).is_some_and(|parts| {
            parts.into_iter().all(|part| match part {
                Part::Text(text) => text.chars().all(is_url_character),
                Part::Place(name) => known.contains(&name),
            })
        })
}

/// The address, with percent-encoded values. None for an empty template, and for one that is not valid.
pub fn link(template: &str, places: &Places<'_>) -> Option<String> {
    let known: Vec<&str> = places.iter().map(|place| place.0).collect();
    if template.is_empty() || !is_link_template(template, &known) {
        return None;
    }
    let mut out = String::with_capacity(template.len() + 36);
    for part in parts(template)? {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Place(name) => {
                let value = places.iter().find(|place| place.0 == name)?.1;
                out.extend(value.bytes().map(encoded));
            }
        }
    }
    Some(out)
}

enum Part<'a> {
    Text(&'a str),
    Place(&'a str),
}

/// The template's texts and places; None if a brace has no other.
fn parts(template: &str) -> Option<Vec<Part<'_>>> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some((text, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}')?;
        parts.extend([Part::Text(text), Part::Place(name)]);
        rest = after;
    }
    parts.push(Part::Text(rest));
    Some(parts)
}

/// The characters of RFC 3986, without the quote that some languages end strings with.
fn is_url_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&()*+,;=%".contains(c)
}

fn encoded(byte: u8) -> String {
    let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if plain {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}
