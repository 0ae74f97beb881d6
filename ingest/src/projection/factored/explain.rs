//! Summary of a projection by module, as a table for people.

use std::fmt;

use super::cost::{self, ProjectionCost, ProjectionRoute};
use super::noise::{ProjectionNoise, noise};
use crate::projection::error::ProjectionError;
use crate::projection::kind::ProjectionKind;
use crate::projection::modules::{GradientShape, ModuleShape};
use crate::projection::spec::ProjectionSpec;

/// One module of a [`ProjectionSummary`], or one tensor where the kind is flat.
#[derive(Clone, Debug, PartialEq)]
pub struct ModuleSummary {
    /// What is projected.
    pub module: ModuleShape,
    /// Its coordinates; none where modules share them.
    pub dim: Option<u32>,
    /// How its vector is computed.
    pub way: ProjectionRoute,
    /// Multiply-adds of every way.
    pub cost: ProjectionCost,
    /// Bytes of its matrices.
    pub table_bytes: u64,
    /// Expected noise.
    pub noise: ProjectionNoise,
}

/// Costs and noise of a projection of some modules, per sample of `tokens` tokens. Prints as a table.
#[derive(Clone, Debug, PartialEq)]
pub struct ProjectionSummary {
    /// Name of the kind.
    pub kind: &'static str,
    /// Tokens of the sample.
    pub tokens: u64,
    /// Modules or tensors, in order.
    pub rows: Vec<ModuleSummary>,
    /// Coordinates of the whole vector.
    pub dim: u64,
    /// Noise of the whole vector if modules have equal shares of the squared norm.
    pub noise: ProjectionNoise,
}

/// Explains a projection of either family. `needs_formed`: see `choose_module`.
///
/// Fails if the spec is not sound; whether a projector takes these modules is said by its `new`.
pub(crate) fn explain(
    spec: &ProjectionSpec,
    modules: &[ModuleShape],
    tokens: u64,
    needs_formed: bool,
) -> Result<ProjectionSummary, ProjectionError> {
    spec.check()?;
    let is_factored = spec.kind.is_factored();
    let row = |module: ModuleShape| ModuleSummary {
        dim: is_factored.then(|| spec.module_dim(&module)),
        way: cost::choose_module(spec, &module, tokens, needs_formed),
        cost: cost::module_cost(spec, &module, tokens),
        table_bytes: cost::table_bytes(spec, &module),
        noise: noise(spec, module.shape, tokens),
        module,
    };
    let projected = |module: &ModuleShape| if is_factored { vec![module.clone()] } else { module.tensors() };
    let rows: Vec<ModuleSummary> = modules.iter().flat_map(projected).map(row).collect();
    let inputs = modules.iter().fold(0u64, |n, m| n.saturating_add(m.shape.numel()));
    let (dim, noise) = match spec.kind {
        ProjectionKind::None => (inputs, ProjectionNoise::default()),
        kind if kind.is_factored() => {
            let all: Vec<ProjectionNoise> = rows.iter().map(|r| r.noise).collect();
            (rows.iter().filter_map(|r| r.dim).map(u64::from).sum(), ProjectionNoise::of_all(&all))
        }
        _ => (u64::from(spec.dim), noise(spec, GradientShape::Vector { len: inputs as usize }, tokens)),
    };
    Ok(ProjectionSummary { kind: spec.kind.name(), tokens, rows, dim, noise })
}

impl ProjectionSummary {
    pub(crate) fn multiply_adds(&self) -> u64 {
        self.rows.iter().fold(0, |n, r| n.saturating_add(r.cost.of(r.way)))
    }

    /// Bytes of all matrices.
    fn table_bytes(&self) -> u64 {
        self.rows.iter().fold(0, |n, r| n.saturating_add(r.table_bytes))
    }
}

const HEADER: [&str; 9] =
    ["module", "shape", "dim", "way", "factors", "formed", "table", "sd unrelated", "sd own"];

impl fmt::Display for ProjectionSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<[String; 9]> = vec![HEADER.map(str::to_owned)];
        lines.extend(self.rows.iter().map(cells));
        lines.push([
            "total".to_owned(),
            String::new(),
            self.dim.to_string(),
            String::new(),
            String::new(),
            three_digits(self.multiply_adds()),
            format!("{}B", three_digits(self.table_bytes())),
            format!("{:.4}", self.noise.unrelated.sqrt()),
            format!("{:.4}", self.noise.own.sqrt()),
        ]);
        let widths: Vec<usize> =
            (0..9).map(|c| lines.iter().map(|l| l[c].chars().count()).max().unwrap_or(0)).collect();
        writeln!(
            f,
            "{}: multiply-adds per sample of {} tokens; total: of the chosen ways",
            self.kind, self.tokens
        )?;
        for line in &lines {
            let text: Vec<String> = line
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(c, (cell, width))| match c {
                    0 | 1 | 3 => format!("{cell:width$}"),
                    _ => format!("{cell:>width$}"),
                })
                .collect();
            writeln!(f, "{}", text.join("  ").trim_end())?;
        }
        Ok(())
    }
}

fn cells(row: &ModuleSummary) -> [String; 9] {
    let (out, input) = row.module.shape.matrix();
    let bias = row.module.shape.bias();
    let shape = match row.module.shape {
        GradientShape::Vector { len } => len.to_string(),
        _ if bias => format!("{out} x ({} + 1)", input - 1),
        _ => format!("{out} x {input}"),
    };
    [
        row.module.name.clone(),
        shape,
        row.dim.map_or("shared".to_owned(), |dim| dim.to_string()),
        match row.way {
            ProjectionRoute::Factors => "factors".to_owned(),
            ProjectionRoute::Formed => "formed".to_owned(),
        },
        row.cost.factors.map_or("-".to_owned(), three_digits),
        three_digits(row.cost.formed()),
        format!("{}B", three_digits(row.table_bytes)),
        format!("{:.4}", row.noise.unrelated.sqrt()),
        format!("{:.4}", row.noise.own.sqrt()),
    ]
}

/// Three digits and a decimal prefix.
fn three_digits(n: u64) -> String {
    let prefixes = ["", "k", "M", "G", "T", "P", "E"];
    let mut value = n as f64;
    let mut prefix = 0;
    while value >= 999.5 && prefix + 1 < prefixes.len() {
        value /= 1000.0;
        prefix += 1;
    }
    let digits = if prefix == 0 || value >= 99.95 { 0 } else { usize::from(value < 9.995) + 1 };
    format!("{value:.digits$}{}", prefixes[prefix])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_for_people() {
        let modules = [
            ModuleShape::linear("h.0.q_proj.weight", 2048, 2048, true),
            ModuleShape::linear("h.0.q_proj.lora_A.weight", 8, 2048, false),
            ModuleShape::vector("h.0.norm.weight", 2048),
        ];
        let spec = ProjectionSpec::sized("fact_sjlt".parse().unwrap(), 1024);
        let explanation = explain(&spec, &modules, 512, false).unwrap();
        let want = "\
fact_sjlt: multiply-adds per sample of 512 tokens; total: of the chosen ways
module                    shape               dim  way      factors  formed   table  sd unrelated  sd own
h.0.q_proj.weight         2048 x (2048 + 1)  1024  factors    4.20M   2.15G  90.4kB        0.0352  0.0513
h.0.q_proj.lora_A.weight  8 x 2048           1024  factors    3.15M   8.43M  41.2kB        0.0564  0.1024
h.0.norm.weight           2048               1024  formed         -   1.05M  8.19kB        0.0312  0.0442
total                                        3072                     8.40M   140kB        0.0245  0.0409
";
        assert_eq!(explanation.to_string(), want);
        assert_eq!(explanation.dim, 3072);
        let flat = explain(&ProjectionSpec::default(), &modules, 512, false).unwrap();
        assert!(flat.rows.iter().all(|r| r.way == ProjectionRoute::Formed && r.dim.is_none()));
        assert_eq!(flat.dim, 8192);
        assert!((flat.noise.unrelated.sqrt() - 0.011).abs() < 1e-3);
        // A bias is the last column of its weight only where modules are projected.
        let tensors: Vec<ModuleShape> = flat.rows.iter().map(|r| r.module.clone()).collect();
        let weight = ModuleShape::linear("h.0.q_proj.weight", 2048, 2048, false);
        assert_eq!(tensors[..2], [weight, ModuleShape::vector("h.0.q_proj.bias", 2048)]);
        assert_eq!(tensors[2..], modules[1..]);
        assert!(!flat.to_string().contains("+ 1)"), "{flat}");
    }

    #[test]
    fn numbers_in_three_digits() {
        let got = [0, 7, 999, 1000, 12_345, 99_960, 999_600, 17_179_869_184, u64::MAX].map(three_digits);
        assert_eq!(got, ["0", "7", "999", "1.00k", "12.3k", "100k", "1.00M", "17.2G", "18.4E"]);
    }
}
