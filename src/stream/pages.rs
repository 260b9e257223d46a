//! Statements that read some rows behind an id, with three limits: one that is a parameter would be a guess for the planner, and most
//! polls want few events.

use crate::pg::spi::Statement;

/// The most rows that are read at once.
pub const PAGE: usize = 1000;

/// The same statement with the limits of [`Pages::SIZES`].
pub struct Pages(pub [Statement; 3]);

/// The statements that a macro makes for a limit; their parameter is the id.
macro_rules! pages {
    ($statement:ident) => {
        Pages([
            Statement::new($statement!(16), &[pg_sys::INT8OID]),
            Statement::new($statement!(128), &[pg_sys::INT8OID]),
            Statement::new($statement!(1000), &[pg_sys::INT8OID]),
        ])
    };
}
pub(super) use pages;

impl Pages {
    const SIZES: [usize; 3] = [16, 128, PAGE];

    /// The statement whose limit is at least this, if one is, and its limit.
    pub fn of(&self, rows: usize) -> (&Statement, usize) {
        let fits = |size: &usize| *size >= rows;
        let place = Self::SIZES.iter().position(fits).unwrap_or(2);
        (&self.0[place], Self::SIZES[place])
    }
}
