//! Texts in an SVG: how wide they are, shortening, escaping.

/// Letters of one size.
#[derive(Clone, Copy)]
pub(super) struct Font {
    pub(super) size: f64,
    pub(super) bold: bool,
}

/// A generous estimate of how wide a text is drawn: nothing here can measure fonts, so the widths are those of DejaVu Sans,
/// the widest of the fonts that stand in for Helvetica.
pub(super) fn width(text: &str, font: Font) -> f64 {
    let units: f64 = text.chars().map(units).sum();
    units * font.size * if font.bold { 1.13 } else { 1.0 }
}

fn units(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | 'I' | 'J' | '|' | '\'' | '.' | ',' | ':' | ';' | ' ' | '·' => 0.34,
        'f' | 't' | 'r' | '(' | ')' | '[' | ']' | '/' | '\\' | '-' | '!' => 0.43,
        '"' | '*' | '_' | 's' | 'z' => 0.53,
        'm' | 'w' | 'M' | 'W' | '@' | '%' | '…' => 1.0,
        '+' | '=' | '<' | '>' | '~' | '#' | '^' => 0.84,
        'A'..='Z' | '&' => 0.79,
        c if c.is_ascii() => 0.645,
        // Letters of most alphabets are narrower than this; ideographs and symbols just fit.
        c if u32::from(c) < 0x1100 => 0.9,
        _ => 1.3,
    }
}

/// The text, or its beginning and an ellipsis, so that it fits into `room`.
pub(super) fn shortened(text: &str, font: Font, room: f64) -> String {
    if width(text, font) <= room {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = width("…", font);
    for c in text.chars() {
        used += width(c.encode_utf8(&mut [0; 4]), font);
        if used > room {
            break;
        }
        out.push(c);
    }
    out.truncate(out.trim_end().len());
    out.push('…');
    out
}

/// Safe inside XML text and attributes; characters that XML cannot hold are left out.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' => out.push('\n'),
            '\u{fffe}' | '\u{ffff}' => {}
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
