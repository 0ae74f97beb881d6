//! Errors of list functions on a column of plain values, with the function that is probably meant.

/// What to write in place of such a call, by the types that the engine says it has.
pub(super) fn of_plain(name: &str, call: &str) -> Option<String> {
    let kind = match name {
        "cardinality" | "flatten" => name,
        _ => name.strip_prefix("list_").or_else(|| name.strip_prefix("array_"))?,
    };
    let (_, types) = call.split_once('(')?;
    let may_be_list = |types: &str| {
        ["List(", "LargeList(", "FixedSizeList(", "Null"].iter().any(|ty| types.starts_with(ty))
    };
    let list = match kind {
        "prepend" | "push_front" => {
            let (value, list) = types.split_once(", ")?;
            if may_be_list(value) && !may_be_list(list) {
                return Some(format!("the list comes after the value: {name}(x, list)"));
            }
            list
        }
        // These make lists.
        "agg" | "repeat" | "value" => return None,
        _ => types,
    };
    if may_be_list(list) {
        return None;
    }
    let is_text = list.starts_with("Utf8");
    let of_rows = match kind {
        "sum" => "sum(x)",
        "avg" => "avg(x)",
        "min" => "min(x)",
        "max" => "max(x)",
        "product" => "list_product(list(x))",
        "distinct" => "SELECT DISTINCT x",
        "sort" => "ORDER BY x",
        "to_string" | "join" => "string_agg(x, ', ')",
        "length" | "cardinality" if is_text => {
            "length(x) for that of a text, count(x) for how many there are"
        }
        "length" | "cardinality" => "count(x)",
        "concat" | "cat" if is_text => "a || b",
        "contains" | "has" if is_text => {
            "contains(x, 'part') for a part of a text, x = 'value' for all of it"
        }
        "contains" | "has" => "x = value",
        _ => "list(x), which makes a list of the values of all rows",
    };
    let of_json =
        if is_text { "; a text that is a list in JSON is read by CAST(x AS VARCHAR[])" } else { "" };
    Some(format!("it takes a list; of a column write {of_rows}{of_json}"))
}

#[cfg(test)]
mod tests {
    use super::of_plain;

    #[test]
    fn columns_in_the_place_of_lists_have_a_form() {
        let said = |name: &str, types: &str| of_plain(name, &format!("{name}({types})")).unwrap_or_default();
        assert_eq!(said("list_sum", "Int64"), "it takes a list; of a column write sum(x)");
        assert!(said("array_length", "Utf8").contains("length(x)"));
        assert!(said("array_append", "Utf8, Utf8").contains("CAST(x AS VARCHAR[])"));
        assert!(said("list_prepend", "Utf8, Float64").contains("list(x)"));
        assert_eq!(said("list_prepend", "Utf8, List(Utf8)"), "");
        assert!(said("array_prepend", "List(Int64), Int64").contains("array_prepend(x, list)"));
        assert_eq!(said("list_sum", "List(Utf8)"), "");
        assert_eq!(said("sum", "Utf8"), "");
    }
}
