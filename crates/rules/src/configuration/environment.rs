//! Which environment a program is in.

/// The variables that say it. The first one that is set counts.
pub const VARIABLES: [&str; 4] = ["TASKER_ENV", "RAILS_ENV", "RACK_ENV", "APP_ENV"];
/// The environment when none of them is set.
pub const DEFAULT: &str = "development";

/// The environment that these variables say, in small letters. An empty variable is not set.
pub fn environment(variable: &dyn Fn(&str) -> Option<String>) -> String {
    VARIABLES
        .iter()
        .filter_map(|name| variable(name))
        .map(|value| value.trim().to_lowercase())
        .find(|value| !value.is_empty())
        .unwrap_or_else(|| DEFAULT.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(set: &[(&str, &str)]) -> String {
        environment(&|name| {
            set.iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_first_variable_that_is_set_says_the_environment_in_small_letters() {
        assert_eq!(of(&[]), "development");
        assert_eq!(of(&[("APP_ENV", "Staging")]), "staging");
        assert_eq!(of(&[("APP_ENV", "a"), ("RACK_ENV", "b")]), "b");
        assert_eq!(of(&[("RACK_ENV", "b"), ("RAILS_ENV", "c")]), "c");
        assert_eq!(of(&[("RAILS_ENV", "c"), ("TASKER_ENV", " TEST ")]), "test");
        assert_eq!(of(&[("TASKER_ENV", ""), ("RAILS_ENV", "c")]), "c");
        assert_eq!(of(&[("ENV", "x")]), "development");
    }
}
