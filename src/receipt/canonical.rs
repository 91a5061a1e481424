//! JSON in its one canonical form, after RFC 8785: no space, keys sorted by UTF-16 code units, numbers as ECMAScript
//! prints them. Whoever has the value can make the bytes, and so the digest, with tools that are not ours.
//! Integers beyond 2^53 have no such form, because other readers would round them; write them as strings.

use serde_json::{Number, Value};

/// A number that other readers of the canonical form would change.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0} is beyond 2^53 and has no canonical form; write it as a string")]
pub struct TooLarge(Number);

const EXACT_MAX: u64 = 1 << 53;

/// Appends the canonical form of a value.
///
/// # Errors
/// [`TooLarge`].
pub fn value(out: &mut Vec<u8>, json: &Value) -> Result<(), TooLarge> {
    match json {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(n) => number(out, n)?,
        Value::String(text) => string(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                value(out, item)?;
            }
            out.push(b']');
        }
        Value::Object(entries) => {
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by(|a, b| a.0.encode_utf16().cmp(b.0.encode_utf16()));
            out.push(b'{');
            for (at, (key, item)) in entries.into_iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                string(out, key);
                out.push(b':');
                value(out, item)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

/// Appends the canonical form of a list of strings.
pub fn strings<S: AsRef<str>>(out: &mut Vec<u8>, items: &[S]) {
    out.push(b'[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        string(out, item.as_ref());
    }
    out.push(b']');
}

/// The serialiser's escapes are the canonical ones: the short forms where there are, `\u00xx` for other controls.
fn string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("text is always JSON, and a Vec takes every byte");
}

fn number(out: &mut Vec<u8>, n: &Number) -> Result<(), TooLarge> {
    let exact = n.as_u64().or_else(|| n.as_i64().map(i64::unsigned_abs));
    match (exact, n.as_f64()) {
        (Some(size), _) if size <= EXACT_MAX => out.extend_from_slice(n.to_string().as_bytes()),
        (None, Some(float)) => out.extend_from_slice(float_text(float).as_bytes()),
        _ => return Err(TooLarge(n.clone())),
    }
    Ok(())
}

/// ECMAScript's `Number::toString`, section 6.1.6.1.20: the shortest digits that read back, with an exponent only from
/// 1e21 up and below 1e-6.
fn float_text(float: f64) -> String {
    if float == 0.0 {
        return "0".to_owned();
    }
    let sign = if float < 0.0 { "-" } else { "" };
    let text = format!("{:e}", float.abs());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let digits = mantissa.replace('.', "");
    let point = exponent.parse::<i32>().unwrap_or(0) + 1;
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let zeros = |n: i32| "0".repeat(usize::try_from(n).unwrap_or(0));
    let body = if (1..=21).contains(&point) {
        match usize::try_from(point) {
            Ok(at) if point < count => format!("{}.{}", &digits[..at], &digits[at..]),
            _ => format!("{digits}{}", zeros(point - count)),
        }
    } else if (-5..=0).contains(&point) {
        format!("0.{}{digits}", zeros(-point))
    } else {
        let (first, rest) = digits.split_at(1);
        let dot = if rest.is_empty() { "" } else { "." };
        format!("{first}{dot}{rest}e{:+}", point - 1)
    };
    format!("{sign}{body}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        let mut out = Vec::new();
        value(&mut out, &serde_json::from_str(text).unwrap()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_have_the_form_of_rfc_8785() {
        // Section 3.2.2 and 3.2.3 of the RFC.
        let sample = r#"{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"#;
        let expected = "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
        assert_eq!(canonical(sample), expected);
        let keys = r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}"#;
        assert_eq!(canonical(keys), "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\u{fb33}\":3}");
    }

    #[test]
    fn numbers_are_as_ecmascript_prints_them() {
        // Appendix B of the RFC, and the edges of the exponent.
        for (bits, text) in [
            (0x0000_0000_0000_0001_u64, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0x8000_0000_0000_0000, "0"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
        ] {
            assert_eq!(float_text(f64::from_bits(bits)), text);
        }
        assert_eq!(canonical("[9007199254740992,-1,1.0]"), "[9007199254740992,-1,1]");
        assert!(value(&mut Vec::new(), &serde_json::json!(9_007_199_254_740_993_u64)).is_err());
    }
}
