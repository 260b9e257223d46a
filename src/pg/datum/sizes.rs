//! Sizes of jsonb values: as they are kept, and as the text that a client gets.

use pgrx::pg_sys::{self, Datum};

use super::{Arg, Jsonb};

/// A row of a result goes out as one message of less than 1 GB; some of it is for the other columns.
pub const LONGEST_ROW: usize = (1 << 30) - (1 << 20);

/// A document of this size is far from the limit, whatever it holds: nothing grows more than twelve-thousand-fold.
const HARMLESS: usize = 1 << 16;

/// Bytes of the value as it is kept in memory. Reads only its header, also of a value that is compressed or stored apart.
pub fn size(jsonb: Jsonb) -> usize {
    // SAFETY: a jsonb is a varlena.
    unsafe { pg_sys::toast_raw_datum_size(jsonb.datum) }
}

/// Whether the texts of these documents together are too long for one row of a result.
pub fn texts_are_too_long(documents: &[Jsonb]) -> bool {
    documents.iter().map(|one| size(*one)).sum::<usize>() > HARMLESS
        && (text_lengths(documents, false) > LONGEST_ROW
            && text_lengths(documents, true) > LONGEST_ROW)
}

fn text_lengths(documents: &[Jsonb], exact: bool) -> usize {
    documents.iter().fold(0_usize, |sum, one| {
        sum.saturating_add(text_length(*one, exact))
    })
}

// An entry of a container (utils/jsonb.h): type, whether it has an offset or a length, and that.
pub(super) const COUNT: u32 = 0x0fff_ffff;
const OBJECT: u32 = 0x2000_0000;
pub(super) const HAS_OFFSET: u32 = 0x8000_0000;
const TYPE: u32 = 0x7000_0000;
pub(super) const STRING: u32 = 0;
pub(super) const NUMERIC: u32 = 0x1000_0000;
pub(super) const CONTAINER: u32 = 0x5000_0000;

/// At least the length of the text; with `exact` strings are counted and not estimated.
fn text_length(jsonb: Jsonb, exact: bool) -> usize {
    let mut length = 0_usize;
    // SAFETY: the layout is that of utils/jsonb.h: a header with a count, an entry per value, then the values; numerics and
    // containers begin at multiples of four bytes. The plain copy lives until the end of the call.
    unsafe {
        let plain = pg_sys::pg_detoast_datum(jsonb.datum.cast_mut_ptr());
        let mut open = vec![pgrx::vardata_any(plain) as *const u32];
        while let Some(container) = open.pop() {
            let header = *container;
            let count = (header & COUNT) as usize;
            let entries = if header & OBJECT == 0 {
                count
            } else {
                2 * count
            };
            let values = container.add(1 + entries) as *const u8;
            length = length.saturating_add(2 + 2 * entries);
            let mut from = 0_usize;
            for index in 0..entries {
                let entry = *container.add(1 + index);
                let number = (entry & COUNT) as usize;
                let to = if entry & HAS_OFFSET == 0 {
                    from + number
                } else {
                    number
                };
                let aligned = from.next_multiple_of(4);
                length = length.saturating_add(match entry & TYPE {
                    STRING if exact => {
                        string_length(std::slice::from_raw_parts(values.add(from), to - from))
                    }
                    STRING => 2 + 6 * (to - from),
                    NUMERIC => numeric_length(values.add(aligned) as *const pg_sys::varlena),
                    CONTAINER => {
                        open.push(values.add(aligned) as *const u32);
                        0
                    }
                    _ => 5,
                });
                from = to;
            }
        }
        if !std::ptr::eq(plain, jsonb.datum.cast_mut_ptr()) {
            pg_sys::pfree(plain.cast());
        }
    }
    length
}

fn string_length(bytes: &[u8]) -> usize {
    let escaped = |byte: &u8| match byte {
        b'"' | b'\\' | 8 | 9 | 10 | 12 | 13 => 2,
        0..=31 => 6,
        _ => 1,
    };
    2 + bytes.iter().map(escaped).sum::<usize>()
}

/// At least as long as numeric_out prints it: sign, digits before the point, point, digits after it.
///
/// # Safety
/// A numeric.
unsafe fn numeric_length(numeric: *const pg_sys::varlena) -> usize {
    // SAFETY: a numeric begins with a header of two bytes, whose first bits tell where weight and scale are (numeric.c).
    let (weight, scale) = unsafe {
        let data = pgrx::vardata_any(numeric);
        let header = (data as *const u16).read_unaligned();
        match header & 0xc000 {
            0xc000 => (1, 0),
            0x8000 => {
                let sign = if header & 0x40 == 0 { 0 } else { !0x3f_i16 };
                ((header & 0x3f) as i16 | sign, (header & 0x1f80) >> 7)
            }
            _ => (
                (data.add(2) as *const i16).read_unaligned(),
                header & 0x3fff,
            ),
        }
    };
    let digits = 4 * (i32::from(weight).max(0) as usize + 1);
    digits + usize::from(scale) + 2
}

/// Whether a text can be sent in the encoding of the client; a client whose encoding is the server's can have all.
pub fn client_can_read(text: &[u8]) -> bool {
    const CHUNK: usize = 8192;
    // PG_SQL_ASCII is 0 on either side: no conversion.
    // SAFETY: reads of the backend's own settings, and a conversion that reports where it stops instead of raising. A
    // character takes at most four bytes of the client's encoding; chunks end between characters.
    unsafe {
        let (server, client) = (
            pg_sys::GetDatabaseEncoding(),
            pg_sys::pg_get_client_encoding(),
        );
        if server == client || server == 0 || client == 0 || text.is_ascii() {
            return true;
        }
        let procedure = pg_sys::FindDefaultConversionProc(server, client);
        if procedure == pg_sys::InvalidOid {
            return false;
        }
        let mut converted = vec![0_u8; 4 * CHUNK + 16];
        let mut rest = text;
        while !rest.is_empty() {
            let mut end = rest.len().min(CHUNK);
            while end < rest.len() && rest[end] & 0xc0 == 0x80 {
                end -= 1;
            }
            let done = pg_sys::pg_do_encoding_conversion_buf(
                procedure,
                server,
                client,
                rest.as_ptr().cast_mut(),
                end as i32,
                converted.as_mut_ptr(),
                converted.len() as i32,
                true,
            );
            if done < end as i32 {
                return false;
            }
            rest = &rest[end..];
        }
        true
    }
}

/// Whether a client has another encoding than the server, so that texts must be tried.
pub fn client_has_other_encoding() -> bool {
    // SAFETY: reads of the backend's own settings.
    unsafe { pg_sys::GetDatabaseEncoding() != pg_sys::pg_get_client_encoding() }
}

/// An object of these members. They must fit into one jsonb; names differ.
pub fn jsonb_object<'a>(members: &[(&str, Jsonb<'a>)]) -> Jsonb<'static> {
    use pg_sys::JsonbIteratorToken::{WJB_BEGIN_OBJECT, WJB_END_OBJECT, WJB_KEY, WJB_VALUE};
    // SAFETY: as jsonb_build_object does it: keys are texts that outlive the call, values are unpacked from plain copies. The
    // result is in the current memory.
    unsafe {
        let mut state = std::ptr::null_mut();
        pg_sys::pushJsonbValue(&mut state, WJB_BEGIN_OBJECT, std::ptr::null_mut());
        for (name, value) in members {
            let mut key: pg_sys::JsonbValue = std::mem::zeroed();
            key.type_ = pg_sys::jbvType::jbvString;
            key.val.string.len = name.len() as i32;
            key.val.string.val = name.as_ptr().cast_mut().cast();
            pg_sys::pushJsonbValue(&mut state, WJB_KEY, &mut key);
            let plain = pg_sys::pg_detoast_datum(value.datum.cast_mut_ptr());
            let mut binary: pg_sys::JsonbValue = std::mem::zeroed();
            binary.type_ = pg_sys::jbvType::jbvBinary;
            binary.val.binary.len = pgrx::varsize_any_exhdr(plain) as i32;
            binary.val.binary.data = pgrx::vardata_any(plain).cast_mut().cast();
            pg_sys::pushJsonbValue(&mut state, WJB_VALUE, &mut binary);
        }
        let object = pg_sys::pushJsonbValue(&mut state, WJB_END_OBJECT, std::ptr::null_mut());
        Jsonb::new(Datum::from(pg_sys::JsonbValueToJsonb(object)))
    }
}

impl<'a> Arg<'a> {
    /// The value as a jsonb, if it is one.
    pub fn as_jsonb(&self) -> Option<Jsonb<'a>> {
        let datum = self.of(pg_sys::JSONBOID).ok().flatten()?;
        // SAFETY: a jsonb that lives as long as this.
        Some(unsafe { Jsonb::new(datum) })
    }
}
