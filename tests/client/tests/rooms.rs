//! The rooms of the library and of the rules: each imports from those below it alone.

use std::collections::BTreeSet;
use std::path::Path;

use tasker_client_tests::server::root;

/// The rooms of src from the bottom to the top, as the head of src/lib.rs says.
const LIBRARY: &[&str] = &[
    "error",
    "pg",
    "settings",
    "logging",
    "storage",
    "processes",
    "metrics",
    "registry",
    "readiness",
    "stream",
    "subscribers",
    "orchestration",
    "functions",
    "background",
    "schema",
    "lib",
];

/// The same of crates/rules/src.
const RULES: &[&str] = &[
    "budget",
    "sqlstate",
    "number",
    "problem",
    "names",
    "engine",
    "events",
    "graph",
    "template",
    "configuration",
    "operations",
    "lib",
];

fn height(rooms: &[&str], room: &str) -> usize {
    rooms
        .iter()
        .position(|known| *known == room)
        .unwrap_or_else(|| panic!("room {room} has no place in the order"))
}

/// The rooms that a text imports from or names: `crate::pg::call`, `crate::{pg::call, metrics}`.
fn imports(rooms: &[&str], text: &str) -> BTreeSet<String> {
    let code: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    code.join("\n")
        .split("crate::")
        .skip(1)
        .flat_map(first_names)
        .filter(|name| rooms.contains(&name.as_str()))
        .collect()
}

/// The names at the beginning of a path, or of each path in braces.
fn first_names(path: &str) -> Vec<String> {
    let name = |path: &str| {
        path.trim_start()
            .chars()
            .take_while(|next| next.is_ascii_lowercase() || *next == '_')
            .collect()
    };
    let Some(group) = path.strip_prefix('{') else {
        return vec![name(path)];
    };
    let mut names = vec![name(group)];
    let mut depth = 1;
    for (at, next) in group.char_indices() {
        match next {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => names.push(name(&group[at + 1..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

/// Every arrow that goes up, from the files of a folder.
fn upward(rooms: &[&str], folder: &Path, room: Option<&str>, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("the sources can be read") {
        let path = entry.expect("an entry can be read").path();
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let room = room.unwrap_or(&name);
        if path.is_dir() {
            upward(rooms, &path, Some(room), found);
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a source can be read");
        let height_here = height(rooms, room);
        found.extend(
            imports(rooms, &text)
                .into_iter()
                .filter(|other| height(rooms, other) > height_here)
                .map(|other| format!("{} imports from {other}", path.display())),
        );
    }
}

/// Every source of the command `tasker`, with its text.
fn sources_of_the_command(folder: &Path) -> Vec<(String, String)> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).expect("the sources can be read") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            found.extend(sources_of_the_command(&path));
        } else {
            let text = std::fs::read_to_string(&path).expect("a source can be read");
            found.push((path.display().to_string(), text));
        }
    }
    found
}

#[test]
fn the_command_uses_the_schema_tasker_alone_and_connects_in_one_place() {
    let sources = sources_of_the_command(&root().join("crates/cli/src"));
    assert!(sources.len() > 5);
    for (path, text) in sources {
        assert!(
            !text.contains("tasker_engine"),
            "{path} uses the private schema"
        );
        assert!(!text.contains("unsafe "), "{path} has unsafe code");
        let connects = text.contains(".connect(") && text.contains("tokio_postgres");
        assert!(
            !connects || path.ends_with("exporter/database.rs"),
            "{path} connects to the database"
        );
    }
    let manifest =
        std::fs::read_to_string(root().join("crates/cli/Cargo.toml")).expect("a manifest");
    assert!(
        !manifest.contains("tasker_ext =") && !manifest.contains("pgrx"),
        "{manifest}"
    );
}

#[test]
fn every_form_of_an_import_is_found() {
    let text = "use crate::pg::call;\n//! crate::background\nfn f() { crate::metrics::count(); }\n\
                use crate::{\n    error::{Error, readiness},\n    registry,\n};\nuse super::functions;\n";
    assert_eq!(
        imports(LIBRARY, text).into_iter().collect::<Vec<_>>(),
        ["error", "metrics", "pg", "registry"]
    );
}

#[test]
fn no_room_imports_from_one_above_it() {
    let mut found = vec![];
    upward(LIBRARY, &root().join("src"), None, &mut found);
    upward(RULES, &root().join("crates/rules/src"), None, &mut found);
    assert_eq!(found, Vec::<String>::new());
}
