//! A Flux answer's annotated CSV in, rows by column name out. Pure; knows quoting, not types.

use std::collections::BTreeMap;

/// Rows of all tables. Each table starts with annotation lines and a header; an empty line ends it. The first
/// column, which holds annotations only, is left out.
pub(super) fn rows(text: &str) -> Vec<BTreeMap<String, String>> {
    let (mut found, mut header) = (Vec::new(), None::<Vec<String>>);
    for record in records(text) {
        match (record.first().map(String::as_str), &header) {
            (Some(""), _) if record.len() == 1 => header = None,
            (Some(annotation), _) if annotation.starts_with('#') => header = None,
            (_, None) => header = Some(record),
            (_, Some(names)) => {
                let cells = names.iter().cloned().zip(record);
                found.push(cells.filter(|(name, _)| !name.is_empty()).collect());
            }
        }
    }
    found
}

/// RFC 4180: cells in quotes may hold commas, line ends and doubled quotes.
fn records(text: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut cell) = (Vec::new(), Vec::new(), String::new());
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(next) = chars.next() {
        match next {
            '"' if quoted && chars.peek() == Some(&'"') => cell.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(std::mem::take(&mut cell)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                record.push(std::mem::take(&mut cell));
                records.push(std::mem::take(&mut record));
            }
            other => cell.push(other),
        }
    }
    if !cell.is_empty() || !record.is_empty() {
        record.push(cell);
        records.push(record);
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_several_tables_have_their_own_columns() {
        let text = "#datatype,string,long,double\r\n#group,false,false,false\r\n#default,_result,,\r\n\
                    ,result,table,_value\r\n,_result,0,1.5\r\n,_result,0,2\r\n\r\n\
                    #datatype,string,long,string\r\n,result,table,Coin\r\n,_result,1,\"a,\"\"b\"\"\"\r\n\r\n";
        let rows = rows(text);
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[1]["_value"], "2");
        assert_eq!(rows[2]["Coin"], "a,\"b\"");
        assert_eq!(rows[2].get("_value"), None);
        assert_eq!(rows[0].get(""), None);
    }

    #[test]
    fn empty_answer_has_no_rows() {
        assert!(rows("\r\n").is_empty());
        assert!(rows("").is_empty());
    }
}
