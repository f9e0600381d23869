//! JSON as the language writes it: no white space, keys as the types have them or sorted, and a few more escapes.
//!
//! Made for the types of this crate: structs, lists, texts, whole numbers, booleans and options. Everything else is an
//! error, because the canonical form says nothing about it.

use std::fmt;

use serde::ser::{self, Impossible, Serialize};

/// The order of the keys of every object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    /// As the type declares them.
    Declared,
    /// In ascending byte order.
    Sorted,
}

/// Writes a value of one of this crate's types.
pub(crate) fn write<T: Serialize + ?Sized>(value: &T, keys: Keys) -> Vec<u8> {
    let mut writer = Writer { out: Vec::with_capacity(2048), keys, fields: Vec::new(), aside: Vec::new() };
    value.serialize(&mut writer).expect("the types of this crate are made of what is written here");
    writer.out
}

struct Writer {
    out: Vec<u8>,
    keys: Keys,
    /// Of the objects that are still open, each field with where it begins and ends, its comma included; those of the
    /// innermost last.
    fields: Vec<(&'static str, usize, usize)>,
    /// Room for the fields of an object while they change places.
    aside: Vec<u8>,
}

/// A value that the canonical form does not know.
#[derive(Debug)]
struct NotWritten(String);

impl fmt::Display for NotWritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has no canonical form", self.0)
    }
}

impl std::error::Error for NotWritten {}

impl ser::Error for NotWritten {
    fn custom<T: fmt::Display>(message: T) -> Self {
        NotWritten(message.to_string())
    }
}

impl Writer {
    fn text(&mut self, text: &str) {
        let bytes = text.as_bytes();
        self.out.push(b'"');
        let mut copied = 0;
        while let Some(ahead) = bytes[copied..].iter().position(|byte| SPECIAL[usize::from(*byte)]) {
            let at = copied + ahead;
            self.out.extend_from_slice(&bytes[copied..at]);
            copied = at + 1;
            self.special(&bytes[..at], bytes[at]);
        }
        self.out.extend_from_slice(&bytes[copied..]);
        self.out.push(b'"');
    }

    /// A byte that may have to be escaped, after those that stand before it.
    fn special(&mut self, before: &[u8], byte: u8) {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            0x08 => b"\\b",
            b'\t' => b"\\t",
            b'\n' => b"\\n",
            0x0c => b"\\f",
            b'\r' => b"\\r",
            b'<' => b"\\u003c",
            b'>' => b"\\u003e",
            b'&' => b"\\u0026",
            // The line separators U+2028 and U+2029 are the bytes e2 80 a8 and e2 80 a9; the first two are written.
            0xa8 | 0xa9 if before.ends_with(&[0xe2, 0x80]) => {
                self.out.truncate(self.out.len() - 2);
                if byte == 0xa8 { b"\\u2028" } else { b"\\u2029" }
            }
            0x00..0x20 => {
                self.out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
                return;
            }
            _ => return self.out.push(byte),
        };
        self.out.extend_from_slice(escape);
    }

    fn number(&mut self, number: u64) {
        let mut digits = [0; 20];
        let mut rest = number;
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.out.extend_from_slice(&digits[first..]);
    }
}

/// Bytes at which a text may need an escape.
static SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        special[byte] = true;
        byte += 1;
    }
    special[b'"' as usize] = true;
    special[b'\\' as usize] = true;
    special[b'<' as usize] = true;
    special[b'>' as usize] = true;
    special[b'&' as usize] = true;
    special[0xa8] = true;
    special[0xa9] = true;
    special
};

type Outcome = Result<(), NotWritten>;

fn not_written<T>(what: &str) -> Result<T, NotWritten> {
    Err(NotWritten(what.to_owned()))
}

impl<'w> ser::Serializer for &'w mut Writer {
    type Ok = ();
    type Error = NotWritten;
    type SerializeSeq = List<'w>;
    type SerializeStruct = Object<'w>;
    type SerializeTuple = Impossible<(), NotWritten>;
    type SerializeTupleStruct = Impossible<(), NotWritten>;
    type SerializeTupleVariant = Impossible<(), NotWritten>;
    type SerializeMap = Impossible<(), NotWritten>;
    type SerializeStructVariant = Impossible<(), NotWritten>;

    fn serialize_bool(self, value: bool) -> Outcome {
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_u8(self, value: u8) -> Outcome {
        self.serialize_u64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Outcome {
        self.serialize_u64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Outcome {
        self.serialize_u64(value.into())
    }

    fn serialize_u64(self, value: u64) -> Outcome {
        self.number(value);
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Outcome {
        self.text(value);
        Ok(())
    }

    fn serialize_none(self) -> Outcome {
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Outcome {
        value.serialize(self)
    }

    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Outcome {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> Outcome {
        value.serialize(self)
    }

    fn serialize_seq(self, _length: Option<usize>) -> Result<Self::SerializeSeq, NotWritten> {
        self.out.push(b'[');
        Ok(List { writer: self, empty: true })
    }

    fn serialize_struct(
        self,
        _name: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeStruct, NotWritten> {
        self.out.push(b'{');
        let (start, first) = (self.out.len(), self.fields.len());
        Ok(Object { writer: self, start, first })
    }

    fn serialize_i8(self, _value: i8) -> Outcome {
        not_written("a signed number")
    }

    fn serialize_i16(self, _value: i16) -> Outcome {
        not_written("a signed number")
    }

    fn serialize_i32(self, _value: i32) -> Outcome {
        not_written("a signed number")
    }

    fn serialize_i64(self, _value: i64) -> Outcome {
        not_written("a signed number")
    }

    fn serialize_f32(self, _value: f32) -> Outcome {
        not_written("a floating point number")
    }

    fn serialize_f64(self, _value: f64) -> Outcome {
        not_written("a floating point number")
    }

    fn serialize_char(self, _value: char) -> Outcome {
        not_written("a character")
    }

    fn serialize_bytes(self, _value: &[u8]) -> Outcome {
        not_written("a byte string")
    }

    fn serialize_unit(self) -> Outcome {
        not_written("a unit")
    }

    fn serialize_unit_struct(self, name: &'static str) -> Outcome {
        not_written(name)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Outcome {
        not_written(name)
    }

    fn serialize_tuple(self, _length: usize) -> Result<Self::SerializeTuple, NotWritten> {
        not_written("a tuple")
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeTupleStruct, NotWritten> {
        not_written(name)
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _index: u32,
        _variant: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeTupleVariant, NotWritten> {
        not_written(name)
    }

    fn serialize_map(self, _length: Option<usize>) -> Result<Self::SerializeMap, NotWritten> {
        not_written("a map")
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _index: u32,
        _variant: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeStructVariant, NotWritten> {
        not_written(name)
    }
}

struct List<'w> {
    writer: &'w mut Writer,
    empty: bool,
}

impl ser::SerializeSeq for List<'_> {
    type Ok = ();
    type Error = NotWritten;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Outcome {
        if !std::mem::replace(&mut self.empty, false) {
            self.writer.out.push(b',');
        }
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Outcome {
        self.writer.out.push(b']');
        Ok(())
    }
}

struct Object<'w> {
    writer: &'w mut Writer,
    /// Where the first field begins in the output.
    start: usize,
    /// Where its fields begin among those of all open objects.
    first: usize,
}

impl ser::SerializeStruct for Object<'_> {
    type Ok = ();
    type Error = NotWritten;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Outcome {
        // Names of fields are ours and need no escapes.
        let out = &mut self.writer.out;
        let from = out.len();
        out.push(b'"');
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(b"\":");
        value.serialize(&mut *self.writer)?;
        self.writer.out.push(b',');
        self.writer.fields.push((key, from, self.writer.out.len()));
        Ok(())
    }

    fn end(self) -> Outcome {
        let Object { writer: Writer { out, keys, fields, aside }, start, first } = self;
        let own = &mut fields[first..];
        if *keys == Keys::Sorted && !own.is_sorted_by_key(|(key, ..)| *key) {
            own.sort_unstable_by_key(|(key, ..)| *key);
            aside.clear();
            aside.extend_from_slice(&out[start..]);
            out.truncate(start);
            for (_, from, end) in own {
                out.extend_from_slice(&aside[*from - start..*end - start]);
            }
        }
        match out.last_mut() {
            Some(last) if fields.len() > first => *last = b'}',
            _ => out.push(b'}'),
        }
        fields.truncate(first);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::{Keys, write};

    #[derive(Serialize)]
    struct Sample {
        zebra: Option<u32>,
        ant: Vec<Inner>,
        #[serde(skip_serializing_if = "Option::is_none")]
        left_out: Option<bool>,
    }

    #[derive(Serialize)]
    struct Inner {
        text: &'static str,
        flag: bool,
    }

    fn text(value: &impl Serialize, keys: Keys) -> String {
        String::from_utf8(write(value, keys)).expect("JSON is UTF-8")
    }

    #[test]
    fn keys_stand_as_declared_or_sorted_at_every_level() {
        let inner = |text| Inner { text, flag: true };
        let sample = Sample { zebra: Some(1), ant: vec![inner("a"), inner("b")], left_out: None };
        assert_eq!(
            text(&sample, Keys::Declared),
            r#"{"zebra":1,"ant":[{"text":"a","flag":true},{"text":"b","flag":true}]}"#
        );
        assert_eq!(
            text(&sample, Keys::Sorted),
            r#"{"ant":[{"flag":true,"text":"a"},{"flag":true,"text":"b"}],"zebra":1}"#
        );
        let nothing = Sample { zebra: None, ant: vec![], left_out: Some(false) };
        assert_eq!(text(&nothing, Keys::Sorted), r#"{"ant":[],"left_out":false,"zebra":null}"#);
    }

    #[test]
    fn texts_are_escaped_as_the_digest_demands() {
        for (raw, escaped) in [
            ("plain/é\u{7f}", "plain/é\u{7f}"),
            ("\"\\", r#"\"\\"#),
            ("\u{8}\t\n\u{c}\r", r"\b\t\n\f\r"),
            ("\u{0}\u{1f}", r"\u0000\u001f"),
            ("a<b>&c", r"a\u003cb\u003e\u0026c"),
            ("x\u{2028}y\u{2029}", r"x\u2028y\u2029"),
            ("\u{2027}\u{202a}¨\u{a9}", "\u{2027}\u{202a}¨\u{a9}"),
        ] {
            assert_eq!(text(&raw, Keys::Sorted), format!("\"{escaped}\""));
        }
    }
}
