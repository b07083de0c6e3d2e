//! What a plain scalar means: null, boolean, number or text, by the core schema of YAML 1.2.
//!
//! `yes`, `no`, `on` and `off` stay text: a parameter that is a boolean reads them, one that is
//! text keeps them, and a country code `no` survives. Numbers that JSON cannot hold (`.inf`,
//! `.nan`, `1e999`) stay text too, and so do numbers that are not zero but too small for a float
//! (`1e-400`): a parameter that is a number refuses them, so they are never silently changed.

use serde_json::{Number, Value};

/// The value of a plain scalar.
pub(super) fn typed(text: &str) -> Value {
    if is_null(text) {
        return Value::Null;
    }
    match text {
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

pub(super) fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

fn number(text: &str) -> Option<Number> {
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix) {
            // `from_str_radix` accepts a sign, which the core schema does not allow here.
            let plain = digits.bytes().all(|b| b.is_ascii_alphanumeric());
            let n = plain.then(|| u64::from_str_radix(digits, radix).ok());
            return n.flatten().map(Number::from);
        }
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
        let signed = text.strip_prefix('+').unwrap_or(text);
        if let Ok(n) = signed.parse::<i64>() {
            return Some(n.into());
        }
        if let Ok(n) = signed.parse::<u64>() {
            return Some(n.into());
        }
    }
    if !is_float(unsigned) {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    let significand = unsigned.split(['e', 'E']).next().unwrap_or_default();
    let vanished = value == 0.0 && significand.contains(|c| ('1'..='9').contains(&c));
    (!vanished).then(|| Number::from_f64(value)).flatten()
}

/// `(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(text);
    let mut rest = &text[whole..];
    if let Some(after) = rest.strip_prefix('.') {
        let part = digits(after);
        if whole == 0 && part == 0 {
            return false;
        }
        rest = &after[part..];
    } else if whole == 0 {
        return false;
    }
    match rest.strip_prefix(['e', 'E']) {
        None => rest.is_empty(),
        Some(exp) => {
            let exp = exp.strip_prefix(['-', '+']).unwrap_or(exp);
            !exp.is_empty() && digits(exp) == exp.len()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn core_schema() {
        for (text, value) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("Null", json!(null)),
            ("nULL", json!("nULL")),
            ("True", json!(true)),
            ("yes", json!("yes")),
            ("off", json!("off")),
            ("0", json!(0)),
            ("-17", json!(-17)),
            ("+17", json!(17)),
            ("007", json!(7)),
            ("0x1F", json!(31)),
            ("0o17", json!(15)),
            ("0x", json!("0x")),
            ("0x-1", json!("0x-1")),
            ("-0x1F", json!("-0x1F")),
            ("18446744073709551615", json!(u64::MAX)),
            ("1_000", json!("1_000")),
            ("5e-4", json!(5e-4)),
            ("1.", json!(1.0)),
            (".5", json!(0.5)),
            ("-.5E+2", json!(-50.0)),
            (".", json!(".")),
            ("-", json!("-")),
            ("e5", json!("e5")),
            ("1e", json!("1e")),
            ("1.2.3", json!("1.2.3")),
            (".inf", json!(".inf")),
            ("1e999", json!("1e999")),
            ("-1e999", json!("-1e999")),
            ("1e-400", json!("1e-400")),
            ("-0.01e-400", json!("-0.01e-400")),
            ("0.0e-400", json!(0.0)),
            ("5e-324", json!(5e-324)),
            ("inf", json!("inf")),
            ("nan", json!("nan")),
            ("99999999999999999999", json!(1e20)),
            ("2026-01-01", json!("2026-01-01")),
        ] {
            assert_eq!(typed(text), value, "{text}");
        }
    }
}
