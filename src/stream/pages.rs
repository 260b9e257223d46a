//! Statements that read some rows behind an id, with four limits: one that is a parameter would be a guess for the planner, and most
//! polls want few events.

use crate::pg::spi::Statement;

/// The most rows that are read at once.
pub const PAGE: usize = 1000;

/// The same statement with the limits of [`Pages::SIZES`].
pub struct Pages(pub [Statement; 4]);

/// The statements that a macro makes for a limit; their parameter is the id.
macro_rules! pages {
    ($statement:ident) => {
        Pages([
            Statement::new($statement!(16), &[pg_sys::INT8OID]),
            Statement::new($statement!(64), &[pg_sys::INT8OID]),
            Statement::new($statement!(256), &[pg_sys::INT8OID]),
            Statement::new($statement!(1000), &[pg_sys::INT8OID]),
        ])
    };
}
pub(super) use pages;

impl Pages {
    const SIZES: [usize; 4] = [16, 64, 256, PAGE];

    /// The smallest statement that reads at least half of this, and its limit: rows that are read for nothing cost more than another page.
    pub fn of(&self, rows: usize) -> (&Statement, usize) {
        let fits = |size: &usize| 2 * size >= rows;
        let last = Self::SIZES.len() - 1;
        let place = Self::SIZES.iter().position(fits).unwrap_or(last);
        (&self.0[place], Self::SIZES[place])
    }
}
