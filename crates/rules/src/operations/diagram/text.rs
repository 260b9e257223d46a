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

/// The text in one line, or in two that break behind a separator, the second one shortened.
pub(super) fn two_lines(text: &str, font: Font, room: f64) -> Vec<String> {
    if width(text, font) <= room {
        return vec![text.to_owned()];
    }
    let mut used = 0.0;
    let (mut fits, mut separator) = (0, 0);
    for (at, c) in text.char_indices() {
        used += width(c.encode_utf8(&mut [0; 4]), font);
        if used > room {
            break;
        }
        fits = at + c.len_utf8();
        if "_-./: ".contains(c) {
            separator = fits;
        }
    }
    let at = if separator * 3 > fits {
        separator
    } else {
        fits
    };
    vec![
        text[..at].trim_end().to_owned(),
        shortened(text[at..].trim_start(), font, room),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FONT: Font = Font {
        size: 13.0,
        bold: true,
    };

    #[test]
    fn a_long_name_breaks_behind_a_separator() {
        assert_eq!(two_lines("short", FONT, 100.0), ["short"]);
        assert_eq!(
            two_lines("reserve_inventory", FONT, 100.0),
            ["reserve_", "inventory"]
        );
        assert_eq!(two_lines("aaaaaaaaaaaaaaaa", FONT, 100.0).len(), 2);
    }

    proptest! {
        #[test]
        fn shortened_text_fits(text in ".{0,80}", room in 20.0f64..300.0) {
            prop_assert!(width(&shortened(&text, FONT, room), FONT) <= room);
            for line in two_lines(&text, FONT, room) {
                prop_assert!(width(&line, FONT) <= room);
            }
        }
    }
}
