//! Form of written rows: their original lines, a table or a saved dataset, as the output's name says.

use std::path::Path;

use anyhow::Result;

use super::folder;
use crate::args::Format;
use crate::context::Context;
use crate::ending::{check_ending, format_for_programs, format_of_scores};
use crate::output::{check, check_outside};
use crate::wording::shell_word;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowsForm {
    Lines,
    Table(Format),
    /// As a saved dataset, in a folder.
    Folder,
}

impl RowsForm {
    /// Of the rows' output; lines where there is none. Refuses a wrong place or ending before the work, not
    /// after it, of a file of scores next to them too.
    pub(super) fn of(
        context: &Context,
        output: Option<&Path>,
        scores: Option<&Path>,
        force: bool,
    ) -> Result<RowsForm> {
        let saved = output.filter(|output| folder::is_folder(output));
        if let Some(saved) = saved {
            check_outside(context, saved)?;
            folder::check(saved, folder::DATASET, force)?;
        }
        let file = output.filter(|_| saved.is_none());
        let files: Vec<Option<&Path>> = [file, scores].into_iter().filter(Option::is_some).collect();
        check(context, &files, force)?;
        scores.map(format_of_scores).transpose()?;
        let Some(file) = file else {
            return Ok(if saved.is_some() { RowsForm::Folder } else { RowsForm::Lines });
        };
        check_ending(file)?;
        let refused = || {
            format!(
                "rows are not written as .txt, .md or .html; end the name in .jsonl for the original lines, or in .csv, .tsv, .parquet or .arrow \
                 for a table; a page with scores and texts is `gstore query \"SELECT id, score, text FROM influence('POOL', 'TARGET', k => 30)\" -o {}`, and --plot FILE.html draws a picture",
                shell_word(file)
            )
        };
        match format_for_programs(file, refused)? {
            Some(Format::Json) | None => Ok(RowsForm::Lines),
            Some(table) => Ok(RowsForm::Table(table)),
        }
    }
}
