//! The interactive shell of `gstore query` in a terminal.
//!
//! - `editor`, `names`: what is typed, with history, and the names of the store that are completed
//! - `show`, `screen`: what is shown of a result, and the pager
//! - `shell` of the library: the words of SQL and of dot commands
//!
//! Statements end with `;`, and every statement sees the newest snapshot. An idle shell holds no snapshot.

mod editor;
mod names;
mod screen;
mod show;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, anyhow, bail};
use gstore_core::{Cancel, Digest, did_you_mean};
use gstore_query::influence::Encoder;
use gstore_sql::{SqlError, SqlRunner};
use gstore_store::Store;

use crate::args::QueryArgs;
use crate::context::Context;
use crate::drawing::colours;
use crate::ending::{check_growing, format_of};
use crate::failure::{refuse, text};
use crate::models::encoder;
use crate::output::{OutputTarget, check};
use crate::packing::{Packing, packing_of};
use crate::shell::dot::{self, DotCommand};
use crate::shell::lexer;
use crate::shell::settings::{Mode, Settings, switch};
use crate::shell::words::CompletionTable;
use crate::statements::{own_tables, report, session, statement_text};
use crate::streams::{is_closed, out, say};
use editor::{Editor, EditorInput};
use names::SnapshotNames;
pub use names::texts;
use show::show;

/// Files that may read each other.
const NESTED: usize = 16;

/// Reads and runs statements until the end of input.
pub fn run(context: &Context, store: &Store, args: &QueryArgs, cancel: &Cancel) -> Result<()> {
    let own = own_tables(context, &args.with)?;
    let names = SnapshotNames::new(context, store, args.state.snapshot.as_ref(), own);
    let mut editor = Editor::new(&names, colours())?;
    let mut shell = Shell::new(context, store, args, cancel, &names)?;
    context.say("gstore shell; .help shows how, .quit leaves");
    loop {
        let input = match context.at_prompt(|| editor.read())? {
            EditorInput::Input(input) => input,
            EditorInput::GivenUp => continue,
            EditorInput::NotText => {
                say!("error: what was typed is not UTF-8, and was dropped; use a terminal that sends UTF-8");
                continue;
            }
            EditorInput::End => return Ok(()),
        };
        cancel.lower();
        match shell.take(&input, 0) {
            Ok(Flow::Go) => {}
            Ok(Flow::Quit) => return Ok(()),
            Err(error) if is_closed() => return Err(error),
            Err(error) => say!("error: {}", text(&error)),
        }
    }
}

/// Runs the statements and dot commands of a text up to the first that fails; `from` says where it is from.
pub fn script(
    context: &Context,
    store: &Store,
    args: &QueryArgs,
    cancel: &Cancel,
    from: &Path,
    text: &str,
) -> Result<()> {
    let format = format_of(&args.output)?;
    if args.output.output.is_some() || format.is_whole() || !args.parameters.is_empty() {
        refuse!(
            "with dot commands, --output, --param and formats of one result (html, parquet, arrow) are not available; .output FILE names a file"
        );
    }
    let own = own_tables(context, &args.with)?;
    let names = SnapshotNames::new(context, store, args.state.snapshot.as_ref(), own);
    let mode = Mode::Format(format);
    let settings = Settings { mode, most: None, timer: false, pager: false, ..Settings::default() };
    let mut shell = Shell { settings, script: true, ..Shell::new(context, store, args, cancel, &names)? };
    shell.lines(from, text, 0)?;
    Ok(())
}

/// What follows an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Go,
    Quit,
}

struct Shell<'a> {
    context: &'a Context,
    store: &'a Store,
    args: &'a QueryArgs,
    cancel: &'a Cancel,
    names: &'a SnapshotNames<'a>,
    encoder: Arc<dyn Encoder>,
    settings: Settings,
    /// The session of the snapshot that was read last.
    session: Option<(Digest, SqlRunner)>,
    /// Whether input is not typed by a user: then only results are printed, and times that are asked for.
    script: bool,
}

impl<'a> Shell<'a> {
    /// For somebody who types.
    fn new(
        context: &'a Context,
        store: &'a Store,
        args: &'a QueryArgs,
        cancel: &'a Cancel,
        names: &'a SnapshotNames<'a>,
    ) -> Result<Self> {
        // Models stay loaded from one statement to the next, whatever the snapshot.
        let encoder = encoder(context, &args.models)?;
        let settings = Settings::default();
        Ok(Shell { context, store, args, cancel, names, encoder, settings, session: None, script: false })
    }

    /// Runs what was typed, or read from a file of this depth.
    fn take(&mut self, input: &str, depth: usize) -> Result<Flow> {
        if dot::is_dot(input) {
            return self.obey(dot::parse(input).map_err(|error| anyhow!(error))?, depth);
        }
        match input.trim().trim_end_matches(';').trim_end() {
            "help" => return self.obey(DotCommand::Help, depth),
            "quit" | "exit" => return Ok(Flow::Quit),
            _ => {}
        }
        for statement in gstore_sql::statements(input) {
            self.answer(&statement)?;
        }
        Ok(Flow::Go)
    }

    fn obey(&mut self, dot: DotCommand, depth: usize) -> Result<Flow> {
        let settings = &mut self.settings;
        let turned = |now: bool, to: Option<bool>| to.unwrap_or(!now);
        match dot {
            DotCommand::Help => out!("{}", dot::help()),
            DotCommand::Quit => return Ok(Flow::Quit),
            DotCommand::Tables(part) => self.list_tables(&part)?,
            DotCommand::Schema(name) => self.list_columns(name.as_deref())?,
            DotCommand::Settings => out!("{}", settings.shown()),
            DotCommand::Mode(mode) => settings.mode = mode,
            DotCommand::MaxRows(most) => settings.most = most,
            DotCommand::Timer(to) => {
                settings.timer = turned(settings.timer, to);
                self.tell("timer", self.settings.timer)?;
            }
            DotCommand::Pager(to) => {
                settings.pager = turned(settings.pager, to);
                self.tell("pager", self.settings.pager)?;
            }
            DotCommand::Lines => match settings.before.take() {
                Some(before) if settings.mode == Mode::Line => settings.mode = before,
                _ => settings.before = Some(std::mem::replace(&mut settings.mode, Mode::Line)),
            },
            DotCommand::Output(path) => self.direct(path, false)?,
            DotCommand::Once(path) => self.direct(Some(path), true)?,
            DotCommand::Read(_) if depth >= NESTED => bail!("files are read more than {NESTED} levels deep"),
            DotCommand::Read(path) => return self.read(&path, depth + 1),
        }
        Ok(Flow::Go)
    }

    fn tell(&self, name: &str, on: bool) -> Result<()> {
        if !self.script {
            out!("{name} {}", switch(on));
        }
        Ok(())
    }

    /// Runs one statement and shows its result.
    fn answer(&mut self, sql: &str) -> Result<()> {
        if std::mem::take(&mut self.settings.refused) {
            bail!(
                "not run, as the file for its result was refused; name another file, or run it again to see the result here"
            );
        }
        let (snapshot, _lease) = self.context.state(self.store, &self.args.state)?;
        let digest = snapshot.digest();
        let runner = match &mut self.session {
            Some((of, runner)) if *of == digest => runner,
            slot => {
                let encoder = Some(Arc::clone(&self.encoder));
                let options = self.args.sql_options(encoder, self.names.own.clone());
                &mut slot.insert((digest, session(self.context, snapshot, options)?)).1
            }
        };
        let begun = Instant::now();
        let mut rows = runner.run(sql, self.cancel)?;
        let schema = Arc::clone(rows.schema());
        let shown = show(&mut self.settings, &schema, &mut rows, self.context)?;
        report(self.context, &rows.notes());
        let line = shown.line(&self.settings, begun.elapsed());
        if !line.is_empty() && (!self.script || self.settings.timer) {
            self.context.say(&line);
        }
        if self.settings.once {
            self.direct(None, false)?;
        }
        Ok(())
    }

    fn list_tables(&self, part: &str) -> Result<()> {
        let words = self.names.words()?;
        for table in words.tables.iter().filter(|table| table.name.contains(part)) {
            out!("{}", table.name);
        }
        Ok(())
    }

    fn list_columns(&self, name: Option<&str>) -> Result<()> {
        let words = self.names.words()?;
        let tables: Vec<&CompletionTable> = match name {
            None => words.tables.iter().filter(|table| table.is_dataset).collect(),
            Some(name) => vec![words.table(name.trim_matches('"')).ok_or_else(|| {
                match did_you_mean(name, words.tables.iter().map(|table| table.name.as_str())).as_str() {
                    "" => anyhow!("there is no table `{name}`; .tables lists them"),
                    meant => anyhow!("there is no table `{name}`{meant}"),
                }
            })?],
        };
        for table in tables {
            out!("{}", table.name);
            let width = table.columns.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
            for (name, kind) in &table.columns {
                out!("  {name:width$}  {kind}");
            }
        }
        Ok(())
    }

    /// Sends results, or only the next one, to a new file, which the first of them makes, or to the screen
    /// again. Where the file is refused, so is the next statement: its result may be too long for the screen.
    fn direct(&mut self, path: Option<PathBuf>, once: bool) -> Result<()> {
        let settings = &mut self.settings;
        (settings.output, settings.header, settings.once, settings.begun) = (None, None, false, false);
        settings.refused = path.is_some();
        let Some(path) = path else { return Ok(()) };
        if OutputTarget::of(Some(&path)).is_file() && path.is_file() {
            let command = if once { ".once" } else { ".output" };
            bail!("{} exists; {command} begins a new file: give another name", path.display());
        }
        check(self.context, &[Some(path.as_path())], false)?;
        check_growing(&path)?;
        if packing_of(&path) != Packing::None {
            bail!("{}: the shell cannot write compressed files; `gstore query -o FILE` can", path.display());
        }
        let settings = &mut self.settings;
        (settings.output, settings.once, settings.refused) = (Some(path), once, false);
        Ok(())
    }

    /// Runs the statements and dot commands of a file up to the first that fails.
    fn read(&mut self, path: &Path, depth: usize) -> Result<Flow> {
        let file = statement_text(fs_err::read(path)?, path)?;
        self.lines(path, &file, depth)
    }

    /// The same of a text that is from there.
    fn lines(&mut self, path: &Path, text: &str, depth: usize) -> Result<Flow> {
        let (mut held, mut begun) = (String::new(), 1);
        // With their ends: a text in a statement may have several lines.
        for (number, line) in text.split_inclusive('\n').enumerate() {
            if held.trim().is_empty() {
                begun = number + 1;
            }
            held.push_str(line);
            if dot::is_misplaced(&held) {
                let (place, command) = (path.display(), line.trim());
                bail!(
                    "{place}, line {}: the statement above (line {begun}) is still open: end it with `;` before `{command}`",
                    number + 1
                );
            }
            let ends = dot::is_dot(&held) || lexer::is_complete_with(&held, line);
            if ends && self.take_line(path, begun, &mut held, depth)? == Flow::Quit {
                return Ok(Flow::Quit);
            }
        }
        self.take_line(path, begun, &mut held, depth)
    }

    fn take_line(&mut self, path: &Path, line: usize, held: &mut String, depth: usize) -> Result<Flow> {
        let input = std::mem::take(held);
        self.take(&input, depth).map_err(|error| {
            let place = format!("{}, line {line}", path.display());
            // An error in a file that this one reads has its place there.
            if error.chain().count() > 1 {
                return error.context(place);
            }
            match error.downcast::<SqlError>() {
                // The place is said once, as that in the file.
                Ok(error) if error.position().is_some() => {
                    let lines = u64::try_from(line).unwrap_or(u64::MAX).saturating_sub(1);
                    anyhow::Error::from(error.further_down(lines)).context(path.display().to_string())
                }
                Ok(error) => anyhow::Error::from(error).context(place),
                Err(error) => error.context(place),
            }
        })
    }
}
