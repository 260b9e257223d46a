//! The rooms of the library: each imports from those below it alone.

use std::collections::BTreeSet;
use std::path::Path;

use tasker_client_tests::server::root;

/// From the bottom to the top, as the head of src/lib.rs says.
const ROOMS: [&str; 13] = [
    "error",
    "pg",
    "settings",
    "storage",
    "processes",
    "metrics",
    "registry",
    "readiness",
    "orchestration",
    "functions",
    "background",
    "schema",
    "lib",
];

fn height(room: &str) -> usize {
    ROOMS
        .iter()
        .position(|known| *known == room)
        .unwrap_or_else(|| panic!("room {room} has no place in the order"))
}

/// The rooms that a text imports from or names.
fn imports(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| {
            rest.chars()
                .take_while(|next| next.is_ascii_lowercase() || *next == '_')
                .collect::<String>()
        })
        .filter(|name| ROOMS.contains(&name.as_str()))
        .collect()
}

/// Every arrow that goes up, from the files of a folder.
fn upward(folder: &Path, room: Option<&str>, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("the sources can be read") {
        let path = entry.expect("an entry can be read").path();
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let room = room.unwrap_or(&name);
        if path.is_dir() {
            upward(&path, Some(room), found);
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a source can be read");
        let height_here = height(room);
        found.extend(
            imports(&text)
                .into_iter()
                .filter(|other| height(other) > height_here)
                .map(|other| format!("{} imports from {other}", path.display())),
        );
    }
}

#[test]
fn an_import_is_seen_wherever_it_stands() {
    let text = "use crate::pg::call;\n//! crate::background\nfn f() { crate::metrics::count(); }\n";
    assert_eq!(
        imports(text).into_iter().collect::<Vec<_>>(),
        ["metrics", "pg"]
    );
}

#[test]
fn no_room_imports_from_one_above_it() {
    let mut found = vec![];
    upward(&root().join("src"), None, &mut found);
    assert_eq!(found, Vec::<String>::new());
}
