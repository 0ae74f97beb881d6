//! Pictures in the terminal and as files.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use gstore::picture::{self, LogError, Picture, TerminalStyle, TrainingLog};
use gstore_train::{CURVES, FolderLock, TrainError};

use crate::args::PictureArgs;
use crate::context::Context;
use crate::failure::refuse;
use crate::output::{Output, OutputTarget, check, parent};
use crate::packing::ending_of;
use crate::streams::out;

/// Columns where no terminal says how many it has.
const COLUMNS: usize = 80;

/// Lines of a plot in a terminal.
const LINES: usize = 12;

/// How long others may draw into the same folder, and the time between two looks.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PictureForm {
    Svg,
    Png,
    Html,
    Text,
}

fn form(path: &Path) -> Result<PictureForm> {
    Ok(match ending_of(path).as_deref() {
        Some("svg") => PictureForm::Svg,
        Some("png") => PictureForm::Png,
        Some("html" | "htm") => PictureForm::Html,
        Some("txt") => PictureForm::Text,
        _ => refuse!(
            "{}: a picture is written as .svg, .png, .html or .txt, by the ending of its name",
            path.display()
        ),
    })
}

/// Refuses a file that cannot be written or has no form, before the work whose picture it is to hold.
pub fn check_file(context: &Context, path: Option<&Path>, force: bool) -> Result<()> {
    match path.filter(|path| OutputTarget::of(Some(path)) != OutputTarget::Stdout) {
        Some(path) => {
            form(path)?;
            check(context, &[Some(path)], force)
        }
        None => Ok(()),
    }
}

/// The same of a picture of a training: its folder may come with the first checkpoint, as that of the output
/// or one that this is in.
pub fn check_curves(context: &Context, path: Option<&Path>, output: &Path) -> Result<()> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let output = absolute(output);
    let is_made = |path: &&Path| {
        absolute(path).parent().is_some_and(|folder| !folder.exists() && output.starts_with(folder))
    };
    match path.filter(is_made) {
        Some(path) => form(path).map(drop),
        None => check_file(context, path, true),
    }
}

/// A picture as a file that has not appeared yet; none of one that goes to standard output.
pub fn begun(args: &PictureArgs, picture: &Picture) -> Result<Option<Output>> {
    let path = args.output.as_deref().filter(|path| OutputTarget::of(Some(path)) != OutputTarget::Stdout);
    path.map(|path| write_picture(picture, path, args.width, args.force)).transpose()
}

pub fn draw(args: &PictureArgs, picture: &Picture) -> Result<()> {
    match begun(args, picture)? {
        Some(output) => output.finish(),
        None => {
            let (columns, colour) = terminal();
            let width = args.width.or(columns).unwrap_or(COLUMNS);
            let text = picture.terminal(TerminalStyle { width, height: LINES, colour });
            out!("{}", text.trim_end());
            Ok(())
        }
    }
}

/// Columns of the terminal that results go to, and whether it shows colours.
fn terminal() -> (Option<usize>, bool) {
    if !std::io::stdout().is_terminal() {
        return (None, false);
    }
    let columns = console::Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
    (columns, colours())
}

/// Whether a terminal may be given colours.
pub fn colours() -> bool {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    !plain
}

fn write_picture(picture: &Picture, path: &Path, width: Option<usize>, force: bool) -> Result<Output> {
    let bytes = match form(path)? {
        PictureForm::Svg => picture.svg().into_bytes(),
        PictureForm::Png => picture.png()?,
        PictureForm::Html => picture.html().into_bytes(),
        PictureForm::Text => {
            let style = TerminalStyle { width: width.unwrap_or(COLUMNS), height: LINES, colour: false };
            picture.terminal(style).into_bytes()
        }
    };
    // Other results may be asked for with it.
    let mut output = Output::create_among(Some(path), force)?;
    output.write_all(&bytes)?;
    Ok(output)
}

/// Draws the curves of a training into its folder, and where they were asked for. One that is not `finished`
/// may have none yet.
///
/// # Errors
/// What was asked for and cannot be drawn. A training without its picture is no failure.
pub fn training(context: &Context, folder: &Path, asked: Option<&Path>, finished: bool) -> Result<()> {
    let log = match TrainingLog::read(folder) {
        Ok(log) => log,
        Err(LogError::None(_) | LogError::NoFolder(_)) if asked.is_none() || !finished => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let picture = picture::training(&[log]);
    let own = folder.join(CURVES);
    if let Err(error) = draw_within(folder, &own, &picture) {
        context.say(&format!("note: {} could not be written: {error}", own.display()));
    }
    match asked {
        None => Ok(()),
        Some(path)
            if OutputTarget::of(Some(path)).is_file()
                && std::path::absolute(parent(path))? == std::path::absolute(folder)? =>
        {
            draw_within(folder, path, &picture)
        }
        Some(path) => {
            draw(&PictureArgs { output: Some(path.to_owned()), force: true, width: None }, &picture)
        }
    }
}

/// Draws into the folder of a training, to which no other process writes meanwhile.
fn draw_within(folder: &Path, path: &Path, picture: &Picture) -> Result<()> {
    let begun = Instant::now();
    let _lock = loop {
        match FolderLock::of(folder) {
            Err(TrainError::Busy(_)) if begun.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            lock => break lock?,
        }
    };
    write_picture(picture, path, None, true)?.finish()
}
