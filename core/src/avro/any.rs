//! A writer schema of any record and an Avro body in, its value out: for people who look into a topic.
//!
//! - Schemas that refer to named types are refused: `apache-avro` 0.22 would follow a recursive one without a limit
//!   of its own. (`recursive_schemas_are_refused`)

use apache_avro::{Schema, reader::datum::GenericDatumReader, types::Value};

use super::{DecodeError, SCHEMA_BYTES_MAX, SCHEMA_DEPTH_MAX, SchemaError, VALUE_BYTES_MAX, nesting};

/// A writer schema, ready to decode bodies of any shape.
#[derive(Debug)]
pub struct AnySchema(Schema);

impl AnySchema {
    /// Checks its size, its depth, and that it refers to nothing.
    pub fn parse(json: &str) -> Result<Self, SchemaError> {
        let depth = nesting(json);
        if json.len() > SCHEMA_BYTES_MAX || depth > SCHEMA_DEPTH_MAX {
            return Err(SchemaError::TooLarge { bytes: json.len(), depth });
        }
        let schema = Schema::parse_str(json).map_err(|e| SchemaError::Parse(e.to_string()))?;
        if refers(&schema) {
            return Err(SchemaError::Parse("refers to a named type, which is not followed".to_owned()));
        }
        Ok(Self(schema))
    }

    /// Decodes an Avro body, without the header of [`super::split`].
    pub fn decode(&self, body: &[u8]) -> Result<Value, DecodeError> {
        apache_avro::util::max_allocation_bytes(VALUE_BYTES_MAX);
        let mut rest = body;
        let error = |e: apache_avro::Error| DecodeError::Body(e.to_string());
        let value = GenericDatumReader::builder(&self.0)
            .build()
            .and_then(|reader| reader.read_value(&mut rest))
            .map_err(error)?;
        if rest.is_empty() {
            Ok(value)
        } else {
            Err(DecodeError::Body(format!("{} bytes left over", rest.len())))
        }
    }
}

fn refers(schema: &Schema) -> bool {
    match schema {
        Schema::Ref { .. } => true,
        Schema::Array(array) => refers(&array.items),
        Schema::Map(map) => refers(&map.types),
        Schema::Union(union) => union.variants().iter().any(refers),
        Schema::Record(record) => record.fields.iter().any(|field| refers(&field.schema)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        avro::{HEADER_BYTES, TRADE_SCHEMA_JSON, TradeEncoder},
        trade::Trade,
    };

    #[test]
    fn a_trade_is_a_record_like_any_other() {
        let trade = Trade { id: 7, time_ms: 1_570_752_011_620, price: 2e-8, amount: -1.5, received_us: 3 };
        let mut value = Vec::new();
        TradeEncoder::new(1, "bitfinex", "tBTCUSD").encode(&trade, &mut value);
        let decoded = AnySchema::parse(TRADE_SCHEMA_JSON).unwrap().decode(&value[HEADER_BYTES..]).unwrap();
        let Value::Record(fields) = decoded else { panic!("{decoded:?}") };
        assert!(fields.contains(&("price".to_owned(), Value::Double(2e-8))));
        let cut = &value[HEADER_BYTES..value.len() - 1];
        assert!(AnySchema::parse(TRADE_SCHEMA_JSON).unwrap().decode(cut).is_err());
    }

    #[test]
    fn recursive_schemas_are_refused() {
        let list = r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#;
        assert!(AnySchema::parse(list).unwrap_err().to_string().contains("named type"));
    }
}
