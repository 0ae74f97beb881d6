//! Features and classes of rows from a table, as `SELECT ... -o features.csv` writes it.

use std::path::Path;

use gstore_evaluate::EvaluateError;

use super::problem::ClassificationData;

/// The column that has the class of a row.
const LABEL: &str = "label";

impl ClassificationData {
    /// Reads CSV with a header: the column `label` is `true` or `false` (or 1 or 0), every other one a
    /// number or a JSON list of numbers, which are features in their order. The table is held in memory, 8
    /// bytes a feature.
    ///
    /// # Errors
    /// A file that cannot be read or has no such column, cells that are something else or not finite, rows of
    /// different lengths.
    pub fn read(path: &Path) -> Result<ClassificationData, EvaluateError> {
        let bad = |what: String| EvaluateError::File { path: path.to_owned(), what };
        let mut reader = csv::Reader::from_reader(fs_err::File::open(path)?);
        let header = reader.headers().map_err(|error| bad(error.to_string()))?.clone();
        let label = header.iter().position(|name| name == LABEL);
        let label =
            label.ok_or_else(|| bad(format!("it has no column `{LABEL}` with the class of each row")))?;
        let (mut features, mut labels): (Vec<f64>, Vec<bool>) = (Vec::new(), Vec::new());
        let mut columns: Option<usize> = None;
        for record in reader.records() {
            let record = record.map_err(|error| bad(error.to_string()))?;
            let line = record.position().map_or(0, csv::Position::line);
            let before = features.len();
            for (place, cell) in record.iter().enumerate() {
                let is_read = match place == label {
                    true => class(cell).map(|class| labels.push(class)),
                    false => numbers(cell).map(|numbers| features.extend(numbers)),
                };
                is_read.ok_or_else(|| {
                    let name = header.get(place).unwrap_or_default();
                    let wanted = match place == label {
                        true => "true or false",
                        false => "a finite number, or a list of them",
                    };
                    bad(format!("line {line}: the column `{name}` is not {wanted}"))
                })?;
            }
            let found = features.len() - before;
            if *columns.get_or_insert(found) != found {
                return Err(bad(format!(
                    "line {line}: it has {found} features, and those before have others"
                )));
            }
        }
        if labels.is_empty() {
            return Err(EvaluateError::Nothing(path.display().to_string()));
        }
        ClassificationData::new(features, columns.unwrap_or(0), labels)
    }
}

fn class(cell: &str) -> Option<bool> {
    match cell.trim() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

fn numbers(cell: &str) -> Option<Vec<f64>> {
    let cell = cell.trim();
    let found: Vec<f64> = match cell.starts_with('[') {
        true => serde_json::from_str(cell).ok()?,
        false => vec![cell.parse().ok()?],
    };
    found.iter().all(|value| value.is_finite()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ClassificationData, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("features.csv");
        fs_err::write(&path, text).expect("written");
        ClassificationData::read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn numbers_and_lists_are_features_in_their_order() {
        let found =
            read("loss,label,vector\n0.5,true,\"[1.5,-2]\"\n1,0,\"[0.25, 1e-3]\"\n").expect("a table");
        let wanted = ClassificationData::new(vec![0.5, 1.5, -2.0, 1.0, 0.25, 1e-3], 3, vec![true, false])
            .expect("a problem");
        assert_eq!(found, wanted);
    }

    #[test]
    fn what_is_no_table_of_features_is_refused_by_its_place() {
        for (text, says) in [
            ("a,b\n1,2\n", "no column `label`"),
            ("label,a\n", "nothing to evaluate"),
            ("label,a\nyes,1\n", "line 2: the column `label` is not true or false"),
            ("label,a\n1,1\n0,x\n", "line 3: the column `a` is not a finite number"),
            ("label,a\n1,NaN\n", "line 2: the column `a`"),
            ("label,a\n1,\"[1,null]\"\n", "line 2: the column `a`"),
            ("label,a\n1,\"[1,2]\"\n0,\"[1]\"\n", "line 3: it has 1 features"),
            ("label,a\n1,1,1\n", "line"),
            ("label\n1\n", "not a matrix"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(says), "{text:?}: {error}");
        }
        assert!(ClassificationData::read(Path::new("no/such/file.csv")).is_err());
    }
}
