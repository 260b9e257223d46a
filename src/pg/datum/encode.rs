//! A jsonb made from values in their binary form: its text would be written and parsed again, at ten times the cost.

use pgrx::pg_sys::{self, Datum};
use serde_json::{Number, Value};

use super::Jsonb;
use super::jsonb::{CONTAINER_ARRAY, CONTAINER_OBJECT};
use super::sizes::{CONTAINER, COUNT, HAS_OFFSET, NUMERIC, STRING};
use crate::pg::memory;

// The other kinds of entries (utils/jsonb.h).
const FALSE: u32 = 0x2000_0000;
const TRUE: u32 = 0x3000_0000;
const NULL: u32 = 0x4000_0000;

/// Of this many entries one has an offset; the others have their length.
const STRIDE: usize = 32;

/// The header of a varlena of four bytes comes first.
const HEADER: usize = 4;

/// Most objects need no more bytes.
const USUAL: usize = 1024;

/// A jsonb object. None: a string holds a NUL character, or the object is too large for jsonb.
pub fn object_of<'v>(
    entries: impl Iterator<Item = (&'v str, &'v Value)>,
) -> Option<Jsonb<'static>> {
    jsonb_of(|out| out.object(entries.collect()))
}

/// The same of an array.
pub fn array_of(values: &[Value]) -> Option<Jsonb<'static>> {
    jsonb_of(|out| out.array(values))
}

fn jsonb_of(write: impl FnOnce(&mut Encoder) -> Option<usize>) -> Option<Jsonb<'static>> {
    let mut out = Encoder(Vec::with_capacity(USUAL));
    out.push(&[0; HEADER]);
    write(&mut out)?;
    let bytes = out.0;
    if bytes.len() > COUNT as usize {
        return None;
    }
    // SAFETY: palloc returns that many writable bytes or raises; the layout is that of a jsonb.
    unsafe {
        let copy = pg_sys::palloc(bytes.len()) as *mut u8;
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), copy, bytes.len());
        pgrx::set_varsize_4b(copy as *mut pg_sys::varlena, bytes.len() as i32);
        Some(Jsonb::new(Datum::from(copy)))
    }
}

struct Encoder(Vec<u8>);

impl Encoder {
    /// Numbers and containers begin at multiples of four bytes.
    fn align(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.0.capacity() - self.0.len() < bytes.len() {
            memory::require(2 * (self.0.len() + bytes.len()));
        }
        self.0.extend_from_slice(bytes);
    }

    /// The header of a container and room for its entries.
    fn begin(&mut self, kind: u32, count: usize, entries: usize) -> Option<Entries> {
        let count = u32::try_from(count).ok().filter(|count| *count <= COUNT)?;
        let base = self.0.len();
        self.align();
        self.push(&(kind | count).to_ne_bytes());
        let first = self.0.len();
        memory::require(4 * entries);
        self.0.resize(first + 4 * entries, 0);
        Some(Entries {
            base,
            first,
            index: 0,
            total: 0,
        })
    }

    fn entry(&mut self, entries: &mut Entries, (kind, length): (u32, usize)) -> Option<()> {
        entries.total += length;
        let number = if entries.index.is_multiple_of(STRIDE) {
            entries.total
        } else {
            length
        };
        let number = u32::try_from(number)
            .ok()
            .filter(|number| *number <= COUNT)?;
        let offset = if entries.index.is_multiple_of(STRIDE) {
            HAS_OFFSET
        } else {
            0
        };
        let at = entries.first + 4 * entries.index;
        self.0[at..at + 4].copy_from_slice(&(kind | offset | number).to_ne_bytes());
        entries.index += 1;
        Some(())
    }

    /// Keys are ordered by length, then by their bytes, and stand before the values.
    fn object(&mut self, mut pairs: Vec<(&str, &Value)>) -> Option<usize> {
        pairs.sort_unstable_by(|(one, _), (other, _)| {
            one.len().cmp(&other.len()).then_with(|| one.cmp(other))
        });
        let mut entries = self.begin(CONTAINER_OBJECT, pairs.len(), 2 * pairs.len())?;
        for (key, _) in &pairs {
            let key = self.string(key)?;
            self.entry(&mut entries, key)?;
        }
        for (_, value) in &pairs {
            let value = self.value(value)?;
            self.entry(&mut entries, value)?;
        }
        Some(self.0.len() - entries.base)
    }

    fn array(&mut self, values: &[Value]) -> Option<usize> {
        let mut entries = self.begin(CONTAINER_ARRAY, values.len(), values.len())?;
        for value in values {
            let value = self.value(value)?;
            self.entry(&mut entries, value)?;
        }
        Some(self.0.len() - entries.base)
    }

    /// Writes a value; the kind of its entry and its length with what aligns it.
    fn value(&mut self, value: &Value) -> Option<(u32, usize)> {
        Some(match value {
            Value::Null => (NULL, 0),
            Value::Bool(false) => (FALSE, 0),
            Value::Bool(true) => (TRUE, 0),
            Value::String(text) => self.string(text)?,
            Value::Number(number) => (NUMERIC, self.number(number)?),
            Value::Array(values) => (CONTAINER, self.array(values)?),
            Value::Object(map) => {
                let pairs = map.iter().map(|(key, value)| (key.as_str(), value));
                (CONTAINER, self.object(pairs.collect())?)
            }
        })
    }

    fn string(&mut self, text: &str) -> Option<(u32, usize)> {
        if text.as_bytes().contains(&0) {
            return None;
        }
        self.push(text.as_bytes());
        Some((STRING, text.len()))
    }

    fn number(&mut self, number: &Number) -> Option<usize> {
        let base = self.0.len();
        self.align();
        // SAFETY: both functions return a plain numeric, or raise; numeric_in takes a text, no type and no modifier.
        unsafe {
            let numeric = match number.as_i64() {
                Some(whole) => pgrx::fcinfo::direct_function_call_as_datum(
                    pg_sys::int8_numeric,
                    &[Some(Datum::from(whole))],
                ),
                None => {
                    let text = std::ffi::CString::new(number.to_string()).ok()?;
                    let none = Some(Datum::from(pg_sys::InvalidOid));
                    let args = [
                        Some(Datum::from(text.as_ptr())),
                        none,
                        Some(Datum::from(-1)),
                    ];
                    pgrx::fcinfo::direct_function_call_as_datum(pg_sys::numeric_in, &args)
                }
            }?;
            let numeric = numeric.cast_mut_ptr::<pg_sys::varlena>();
            let length = pgrx::varsize_any(numeric);
            self.push(std::slice::from_raw_parts(numeric as *const u8, length));
            pg_sys::pfree(numeric.cast());
        }
        Some(self.0.len() - base)
    }
}

/// The entries of a container that is being written.
struct Entries {
    /// Where the container begins, before it is aligned.
    base: usize,
    /// Where its first entry is.
    first: usize,
    index: usize,
    /// Bytes of the values so far.
    total: usize,
}
