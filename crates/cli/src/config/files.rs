//! The files of a directory: those of the base and of one environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tasker_rules::configuration::check::{Places, place};
use tasker_rules::configuration::{File, Finding, Keys, Rules, Secrets, Set, catalog, read, write};

/// What was read.
pub struct Files {
    pub set: Set,
}

/// Larger than this is no configuration.
const LARGEST: u64 = 1 << 20;

impl Files {
    /// Reads and checks the base and the files of the environment. Errors: why they cannot be read.
    pub fn read(dir: &Path, environment: &str) -> Result<(Self, Vec<Finding>), String> {
        let keys = Keys::new(catalog::keys());
        let rules = Rules {
            keys: &keys,
            secrets: &Secrets::default(),
            variables: Some(&super::variable),
        };
        let mut set = Set::default();
        let mut places: BTreeMap<File, Places> = BTreeMap::new();
        let mut findings = vec![];
        for (path, file) in listed(dir, environment)? {
            let shown = path.display();
            let size = std::fs::metadata(&path).map_err(|error| format!("{shown}: {error}"))?;
            if size.len() > LARGEST {
                return Err(format!("{shown}: larger than {LARGEST} bytes"));
            }
            let bytes = std::fs::read(&path).map_err(|error| format!("{shown}: {error}"))?;
            let text = String::from_utf8(bytes).map_err(|error| {
                format!(
                    "{shown}: not UTF-8 from byte {}",
                    error.utf8_error().valid_up_to() + 1
                )
            })?;
            let found = read(&file, &text, &rules);
            findings.extend(found.findings);
            places.insert(file.clone(), found.places);
            set.files.insert(file, found.leaves);
        }
        let mut together = set.check(&keys, Some(environment));
        place(&mut together, &places);
        findings.extend(together);
        Ok((Self { set }, findings))
    }

    pub fn count(&self) -> usize {
        self.set.files.len()
    }

    /// As `load_config_set` takes them: variables replaced, secrets masked.
    pub fn texts(&self) -> Value {
        let texts = self.set.files.iter().map(|(file, leaves)| {
            let text = write::toml(file.component, leaves);
            (file.to_string(), Value::from(text))
        });
        Value::Object(texts.collect())
    }
}

/// The TOML files, with what they are. A file of another name in these directories is an error: somebody expects it to count.
fn listed(dir: &Path, environment: &str) -> Result<Vec<(PathBuf, File)>, String> {
    let base = dir.join("base");
    if !base.is_dir() {
        return Err(format!(
            "{} is no directory; {} needs base/<component>.toml",
            base.display(),
            dir.display()
        ));
    }
    let mut files = vec![];
    for (folder, environment) in [
        (base, None),
        (
            dir.join("environments").join(environment),
            Some(environment),
        ),
    ] {
        if environment.is_some() && !folder.is_dir() {
            continue;
        }
        let shown = folder.display();
        let entries = std::fs::read_dir(&folder).map_err(|error| format!("{shown}: {error}"))?;
        for entry in entries {
            let path = entry.map_err(|error| format!("{shown}: {error}"))?.path();
            let Some(component) = path
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(|name| name.strip_suffix(".toml"))
            else {
                continue;
            };
            let file = File::new(component, environment)
                .map_err(|problem| format!("{}: {problem}", path.display()))?;
            files.push((path, file));
        }
    }
    files.sort();
    Ok(files)
}
