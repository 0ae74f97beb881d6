//! A matrix that is made, group by group and part by part.

use std::ops::{ControlFlow, Range};

use gstore_core::{Cancel, parallel};
use gstore_store::SampleReader;

use super::encode::{Encoder, PartWriter};
use super::error::MatrixError;
use super::files::PartPlace;
use super::place::OutputPaths;
use super::question::{MatrixGroup, MatrixInfo, MatrixQuestion};
use super::work::{self, PartNote, WorkFolder};
use super::{MatrixOptions, MatrixOutput, MatrixReport, join, of_stored_samples, open_samples, targets};
use crate::error::QueryError;
use crate::influence::{MOST_SAMPLES, Prepared, TargetNames, TargetSamples, TileWorker, Tiles};
use crate::size::{needed_and_allowed, runs};

/// Is told how many rows were compared, and whether an earlier run did that.
type Compared<'a> = &'a mut dyn FnMut(u64, bool);

/// A matrix that can be made.
pub struct MatrixJob<'a> {
    pub(super) prepared: &'a Prepared,
    pub(super) options: MatrixOptions,
    pub(super) samples: TargetSamples,
    pub(super) question: MatrixQuestion,
    /// Bytes that the inverses of a preconditioner take at most, until they are made and afterwards.
    pub(super) inverses: u64,
}

impl<'a> MatrixJob<'a> {
    /// Finds the samples and cuts them into groups. Makes the inverses of a preconditioner.
    ///
    /// # Errors
    /// Where tokens are scored, or samples are given with the question; an artifact that cannot be read, a
    /// matrix without an inverse, and being told to stop.
    pub fn new(prepared: &'a Prepared, options: MatrixOptions, cancel: &Cancel) -> Result<Self, MatrixError> {
        of_stored_samples(prepared)?;
        let inverses = prepared.inverse_making_bytes(options.threads)?;
        prepared.make_inverses(options.threads, cancel)?;
        let samples = prepared.target_samples(cancel)?;
        let question = MatrixQuestion::new(prepared, &samples, options, cancel)?;
        Ok(Self { prepared, options, samples, question, inverses })
    }

    /// Makes the matrix, or what an earlier run left to do. `progress` is told how many rows were compared,
    /// and how many of them an earlier run had done; there are
    /// [`MatrixForecast::row_passes`](super::MatrixForecast::row_passes) in all.
    ///
    /// # Errors
    /// Where the output is something else that may not be replaced, or work for it was begun with another
    /// question. What was finished stays, and the same call goes on.
    pub fn write(
        &self,
        output: MatrixOutput<'_>,
        progress: Compared<'_>,
        cancel: &Cancel,
    ) -> Result<MatrixReport, MatrixError> {
        let (place, finished) = self.place(output)?;
        if let Some(info) = finished {
            work::remove_leftover(&place, &self.question)?;
            return self.finished(&place, &info);
        }
        let work = WorkFolder::open(&place, &self.question)?;
        // By another process, between the first look and the lock.
        if let Some(info) = place.finished(&self.question)? {
            work.discard()?;
            return self.finished(&place, &info);
        }
        self.make(output, work, progress, cancel).map_err(MatrixError::of_begun_work)
    }

    /// Makes what is left to do, and publishes the result.
    fn make(
        &self,
        output: MatrixOutput<'_>,
        work: WorkFolder<'_>,
        progress: Compared<'_>,
        cancel: &Cancel,
    ) -> Result<MatrixReport, MatrixError> {
        let place = work.place;
        let samples = open_samples(self.prepared)?;
        let mut note = PartNote::default();
        let mut kept = 0;
        for group in 0..self.question.groups.len() {
            let (of_group, old) = self.group(&work, group, &samples, progress, cancel)?;
            // Each group sees the same rows.
            note = of_group;
            kept += old;
        }
        let names = TargetNames::new(self.prepared)?;
        let info = MatrixInfo { question: self.question.clone(), rows: note.rows, excluded: note.excluded };
        match output {
            MatrixOutput::Folder(_) => {
                targets::write(&work, &self.samples, &names, &self.question)?;
                work.publish_folder(&info)?;
            }
            MatrixOutput::File(_) => {
                // What was put there meanwhile stays, and so do the parts.
                self.refuse_taken(place, place.is_taken()?)?;
                let targets = targets::as_json(&self.samples, &names)?;
                work.publish_file(&info, &targets, cancel)?;
            }
        }
        Ok(self.report(&info, kept, false, place.bytes()?))
    }

    /// Refuses an output that the matrix cannot have as things are; nothing is written.
    ///
    /// # Errors
    /// Those with which [`Self::write`] would begin.
    pub fn check(&self, output: MatrixOutput<'_>) -> Result<(), MatrixError> {
        match self.place(output)? {
            (_, Some(_)) => Ok(()),
            (place, None) => work::is_begun(&place, &self.question).map(|_| ()),
        }
    }

    /// The place of an output, and the matrix if it is there already.
    fn place(&self, output: MatrixOutput<'_>) -> Result<(OutputPaths, Option<MatrixInfo>), MatrixError> {
        if let (MatrixOutput::File(path), [_, _, ..]) = (output, &self.question.groups[..]) {
            if self.samples.rows.len() as u64 > MOST_SAMPLES {
                return Err(MatrixError::Refused(format!(
                    "a single file ({}) has the scores of at most {MOST_SAMPLES} target samples, and these are {}; name a folder",
                    path.display(),
                    self.samples.rows.len(),
                )));
            }
            let samples = self.samples.rows.len();
            let needed = self.prepared.sample_bytes().saturating_mul(samples as u64);
            let (needed, allowed) = needed_and_allowed(needed, self.options.memory);
            return Err(MatrixError::Refused(format!(
                "the vectors of {samples} target samples do not fit into {allowed} at once, so their scores cannot be a single file ({}); name a \
                 folder, or allow {needed}",
                path.display(),
            )));
        }
        let place = OutputPaths::new(output, self.options.replace)?;
        // In this order: another process may finish the same matrix at any time.
        let taken = place.is_taken()?;
        let finished = place.finished(&self.question)?;
        if finished.is_none() {
            place.check()?;
            self.refuse_taken(&place, taken)?;
        }
        Ok((place, finished))
    }

    fn refuse_taken(&self, place: &OutputPaths, taken: bool) -> Result<(), MatrixError> {
        match taken && !self.options.replace {
            true => Err(MatrixError::Exists(place.path.clone())),
            false => Ok(()),
        }
    }

    fn finished(&self, place: &OutputPaths, info: &MatrixInfo) -> Result<MatrixReport, MatrixError> {
        place.tidy()?;
        Ok(self.report(info, 0, true, place.bytes()?))
    }

    fn report(&self, info: &MatrixInfo, kept: usize, already_there: bool, bytes: u64) -> MatrixReport {
        MatrixReport {
            rows: info.rows,
            excluded: info.excluded,
            samples: self.samples.rows.len() as u64,
            groups: self.question.groups.len(),
            kept,
            already_there,
            bytes,
        }
    }

    /// The parts of one group; returns what they hold, and how many an earlier run had finished.
    fn group(
        &self,
        work: &WorkFolder<'_>,
        group: usize,
        samples: &[SampleReader],
        progress: Compared<'_>,
        cancel: &Cancel,
    ) -> Result<(PartNote, usize), MatrixError> {
        let MatrixGroup { first, samples: count, .. } = self.question.groups[group];
        if let Some(notes) = work.finished_group(group, cancel)? {
            let mut all = PartNote::default();
            notes.iter().for_each(|note| all.merge(note));
            progress(all.rows + all.excluded.total(), true);
            return Ok((all, notes.len()));
        }
        let rows = &self.samples.rows[first as usize..(first + count) as usize];
        let part = self.prepared.of_samples(rows, cancel)?;
        let tiles = match part.tiles(self.options.part / size_of::<f32>() as u64, cancel) {
            // What helps is another question, and there is nothing yet that it could spoil.
            Err(error @ (QueryError::Missing { .. } | QueryError::Spec(_)))
                if work.part(0, 0, cancel)?.is_none() =>
            {
                work::discard(work.place)?;
                return Err(error.into());
            }
            tiles => tiles?,
        };
        if work.place.single {
            fits_one_file(tiles.len(), work)?;
        }
        let parts = cut(&tiles, self.options.part);
        let encoder = Encoder::new(self.prepared, samples, rows.len())?;
        let mut all = PartNote::default();
        let mut kept = 0;
        for (part, range) in parts.iter().enumerate() {
            let note = match work.part(group, part, cancel)? {
                Some(note) => {
                    progress(note.rows + note.excluded.total(), true);
                    kept += 1;
                    note
                }
                None => {
                    let place = (group, part, parts.len());
                    let made = self.part(work, place, (&tiles, range.clone()), &encoder, progress, cancel);
                    PartPlace::new(work.part_path(group, part)?).made(made)?
                }
            };
            all.merge(&note);
        }
        Ok((all, kept))
    }

    fn part(
        &self,
        work: &WorkFolder<'_>,
        (group, part, parts): (usize, usize, usize),
        (tiles, range): (&Tiles<'_>, Range<usize>),
        encoder: &Encoder<'_>,
        progress: Compared<'_>,
        cancel: &Cancel,
    ) -> Result<PartNote, MatrixError> {
        let mut writer = PartWriter::create(PartPlace::new(work.part_path(group, part)?), encoder)?;
        let mut note = PartNote { question: work.digest.clone(), part, parts, ..PartNote::default() };
        parallel::ordered::<_, _, MatrixError>(
            range.len(),
            self.options.threads,
            cancel,
            TileWorker::default,
            |worker, unit| encoder.encode(tiles.score(range.start + unit, worker, cancel)?),
            |encoded| {
                note.rows += encoded.rows;
                note.excluded.merge(&encoded.excluded);
                let seen = encoded.rows + encoded.excluded.total();
                writer.push(encoded)?;
                progress(seen, false);
                Ok(ControlFlow::Continue(()))
            },
        )?;
        writer.finish(&note, &work.digest_place(group, part)?)?;
        Ok(note)
    }
}

/// Whether the tiles are few enough for one file; else nothing is left of the work, of
/// which there is none yet.
fn fits_one_file(tiles: usize, work: &WorkFolder<'_>) -> Result<(), MatrixError> {
    if tiles <= join::MOST_ROW_GROUPS {
        return Ok(());
    }
    work::discard(work.place)?;
    Err(MatrixError::Refused(format!(
        "the scores are {tiles} row groups, and a single file ({}) has at most {}; name a folder",
        work.place.display(),
        join::MOST_ROW_GROUPS
    )))
}

/// Tiles of each part.
fn cut(tiles: &Tiles<'_>, most: u64) -> Vec<Range<usize>> {
    let width = (tiles.samples().len() * size_of::<f32>()) as u64;
    let bytes = (0..tiles.len()).map(|tile| tiles.most_rows(tile).saturating_mul(width));
    let mut parts = runs(bytes, most, |_| true);
    // A pool without rows has one part without rows, so that there is a file to read.
    if parts.is_empty() {
        parts.push(0..0);
    }
    parts
}
