//! Sparse maps of columns on the device, kept between calls: a projection uses the same few for every batch.

use std::sync::Arc;

use gstore_core::locked;
use gstore_model::ColumnMap;

use super::{Cuda, Tensor, number};
use crate::runtime::{Argument, Result, Runtime};

/// Maps that are kept; when there are more, all are dropped.
const MOST: usize = 4096;

/// Maps of the device, each with what it was computed from.
pub(super) type Maps<M> = Vec<(ColumnMap, Arc<DeviceMap<M>>)>;

/// A map, by output column.
pub(super) struct DeviceMap<M> {
    pub(super) input: usize,
    pub(super) out: usize,
    /// The first entry of each column, and the end of the last.
    pub(super) starts: M,
    pub(super) columns: M,
    pub(super) factors: M,
}

impl<R: Runtime> Cuda<R> {
    pub(super) fn device_map(&self, map: &ColumnMap) -> Result<DeviceMap<R::Memory>> {
        map.check(map.input)?;
        let mut entries = map.entries.clone();
        // Stable: entries of an output column stay in the order of the input's.
        entries.sort_by_key(|entry| entry.0);
        let starts: Vec<u32> =
            (0..=map.out).map(|o| entries.partition_point(|entry| (entry.0 as usize) < o) as u32).collect();
        number(entries.len())?;
        Ok(DeviceMap {
            input: map.input,
            out: map.out,
            starts: self.upload(&starts)?,
            columns: self.upload(&entries.iter().map(|entry| entry.1).collect::<Vec<u32>>())?,
            factors: self.upload(&entries.iter().map(|entry| entry.2).collect::<Vec<f32>>())?,
        })
    }

    fn kept_map(&self, map: &ColumnMap) -> Result<Arc<DeviceMap<R::Memory>>> {
        let mut maps = locked(&self.maps);
        // Maps that differ mostly do so in their sizes or in one of the first entries.
        if let Some((_, found)) = maps.iter().find(|(of, _)| of == map) {
            return Ok(found.clone());
        }
        let on = Arc::new(self.device_map(map)?);
        if maps.len() == MOST {
            maps.clear();
        }
        maps.push((map.clone(), on.clone()));
        Ok(on)
    }

    pub(super) fn mapped_columns(&self, x: &Tensor<R>, map: &ColumnMap) -> Result<Tensor<R>> {
        let (rows, input) = x.size();
        map.check(input)?;
        let (on, y) = (self.kept_map(map)?, self.unspecified(rows, map.out)?);
        let (constant, value) = map.constant.unwrap_or((u32::MAX, 0.0));
        let arguments = [
            self.argument(x)?,
            Argument::At(&on.starts, 0),
            Argument::At(&on.columns, 0),
            Argument::At(&on.factors, 0),
            self.argument(&y)?,
            Argument::U32(number(input)?),
            Argument::U32(number(map.out)?),
            Argument::U32(constant),
            Argument::F32(value),
        ];
        let threads = (map.out.saturating_mul(32).min(256) as u32).next_power_of_two();
        self.launch("map_columns", [rows, 1, 1], threads, 0, &arguments)?;
        Ok(y)
    }
}
