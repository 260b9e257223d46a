//! What an error of a handler inside the database means for its step: its SQLSTATE is the error class, and this table
//! says whether another attempt can help. docs/background-workers.md shows the same table.

/// Whether a step whose handler ended with this SQLSTATE is worth another attempt.
///
/// Errors that depend on the moment are retryable: locks, concurrency, resources, connections, a cancelled statement. Errors
/// that the same input causes again are not: data, constraints, privileges, syntax. `RAISE EXCEPTION` without a code (P0001)
/// and codes of the application's own are retryable, as any exception of a handler is.
pub fn is_retryable(sqlstate: &str) -> bool {
    match sqlstate {
        // lock_not_available, object_in_use, query_canceled, raise_exception
        "55P03" | "55006" | "57014" | "P0001" => true,
        // program_limit_exceeded and internal errors of PostgreSQL come back.
        _ => match sqlstate.get(..2).unwrap_or_default() {
            // no data, locator, cardinality, data, constraint, state of objects, syntax and access, limits, PL/pgSQL
            "02" | "0A" | "0F" | "0L" | "0P" | "20" | "21" | "22" | "23" | "24" | "26" | "27"
            | "28" | "2B" | "2F" | "34" | "38" | "39" | "3B" | "3D" | "3F" | "42" | "44" | "54"
            | "55" | "F0" | "HV" | "P0" | "XX" => false,
            // connection, rollback, resources, intervention, system; and every class that is not PostgreSQL's own
            _ => true,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::is_retryable;

    #[test]
    fn what_depends_on_the_moment_is_retryable() {
        for code in [
            "40001", "40P01", "55P03", "55006", "57014", "53100", "53300", "08006", "58030",
            "57P01", "P0001", "TK001",
        ] {
            assert!(is_retryable(code), "{code}");
        }
    }

    #[test]
    fn what_the_same_input_meets_again_is_not() {
        for code in [
            "22012", "22P02", "23505", "23503", "42501", "42883", "42P01", "54001", "55000",
            "P0002", "P0004", "XX000", "0A000", "28000",
        ] {
            assert!(!is_retryable(code), "{code}");
        }
    }
}
