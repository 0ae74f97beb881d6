//! Packed causal attention: outputs, gradients and tangents, in tiles.
//!
//! In bf16 precision tensor cores multiply queries, keys, values, probabilities and their gradients, all rounded
//! to bf16, with sums in f32, if the columns of a head are a multiple of 8. Tangents, cached keys and other heads
//! are in f32.

use std::ops::Range;
use std::sync::Arc;

use gstore_model::Attention;

use super::linear::Place;
use super::tiles::{
    AttentionShape, Instance, Kernel, KeyTile, QueryTile, check_shared, key_tiles, query_tiles,
};
use super::{Cuda, CudaTensor, THREADS, Tensor, number};
use crate::runtime::{Argument, Memory, Precision, Result, Runtime};

/// Device data that the kernels of a plan share.
struct Planned<M> {
    instance: Instance,
    shape: AttentionShape,
    positions: Arc<M>,
    drop_keys: Option<M>,
}

/// The address of a row of `width` values of so many bytes.
fn row_address<M: Memory>((memory, offset): Place<'_, M>, row: usize, width: usize, bytes: usize) -> u64 {
    memory.address() + (bytes * (offset + row * width)) as u64
}

/// Whether tiles with these rows, one after the other, are all rows.
fn are_all(mut tiles: impl Iterator<Item = Range<usize>>, rows: usize) -> bool {
    tiles.try_fold(0, |end, tile| (tile.start == end).then_some(tile.end)) == Some(rows)
}

impl<R: Runtime> Cuda<R> {
    fn planned(&self, of: &Attention<'_, Tensor<R>>) -> Result<Planned<R::Memory>> {
        of.check(CudaTensor::size)?;
        number(of.q.size().0.max(of.k.size().0))?;
        let dim = of.form.heads.dim;
        let is_bf16 = self.arithmetic.precision == Precision::Bf16 && dim.is_multiple_of(8);
        let instance = match is_bf16 {
            true => Instance::of_bf16(dim)?,
            false => Instance::of(dim, self.runtime.shared())?,
        };
        Ok(Planned {
            instance,
            shape: AttentionShape::new(of.form, of.dropout)?,
            positions: self.uploaded(&of.plan.positions)?,
            drop_keys: of.dropout.map(|dropout| self.upload(dropout.keys)).transpose()?,
        })
    }

    /// A tensor as the kernels of an instance read it.
    fn attended<'a>(&self, x: &'a Tensor<R>, instance: &Instance) -> Result<Place<'a, R::Memory>> {
        if instance.is_bf16 { self.rounded(x) } else { self.values(x) }
    }

    /// The same as an argument.
    fn operand<'a>(&self, x: &'a Tensor<R>, instance: &Instance) -> Result<Argument<'a, R::Memory>> {
        let (memory, first) = self.attended(x, instance)?;
        Ok(Argument::At(memory, first * if instance.is_bf16 { 2 } else { 4 }))
    }

    /// Tiles of so many of the queries of a plan, for the kernels of an instance.
    fn query_tiles(
        &self,
        of: &Attention<'_, Tensor<R>>,
        instance: &Instance,
        side: usize,
    ) -> Result<Vec<QueryTile>> {
        let places = [self.attended(of.k, instance)?, self.attended(of.v, instance)?];
        let width = of.k.size().1;
        let bytes = if instance.is_bf16 { 2 } else { 4 };
        let rows = |row| places.map(|place| row_address(place, row, width, bytes));
        Ok(query_tiles(of.plan, of.form, rows, side))
    }

    pub(super) fn attend(&self, of: &Attention<'_, Tensor<R>>) -> Result<(Tensor<R>, Tensor<R>)> {
        let Planned { instance, shape, positions, drop_keys } = &self.planned(of)?;
        let tiles = self.query_tiles(of, instance, instance.forward.side)?;
        self.attend_tiles(of.q, &tiles, (positions.as_ref(), drop_keys.as_ref()), instance, *shape)
    }

    /// A new tensor that tiles are written to: of zeros unless they are all of its rows.
    fn written(&self, is_all: bool, x: Tensor<R>) -> Result<Tensor<R>> {
        if is_all { Ok(x) } else { self.cleared(x) }
    }

    /// Outputs and log-sums of the queries of some tiles; zeros for other queries.
    pub(super) fn attend_tiles(
        &self,
        q: &Tensor<R>,
        tiles: &[QueryTile],
        (positions, drop_keys): (&R::Memory, Option<&R::Memory>),
        instance: &Instance,
        shape: AttentionShape,
    ) -> Result<(Tensor<R>, Tensor<R>)> {
        let ((rows, width), kernel) = (q.size(), &instance.forward);
        check_shared(&[kernel], shape.dim, self.runtime.shared(), instance.is_bf16)?;
        let heads = shape.query_heads as usize;
        let is_all = are_all(tiles.iter().map(QueryTile::rows), rows);
        let out = self.written(is_all, self.unspecified(rows, width)?)?;
        let log_sums = self.written(is_all, self.unspecified(rows, heads)?)?;
        let device_tiles = self.uploaded(tiles)?;
        let mut arguments = vec![
            self.operand(q, instance)?,
            Argument::At(device_tiles.as_ref(), 0),
            Argument::At(positions, 0),
            drop_keys.map_or(Argument::Null, |keys| Argument::At(keys, 0)),
            self.argument(&out)?,
        ];
        if instance.is_bf16 {
            arguments.push(if is_all { self.rounding(&out)? } else { Argument::Null });
        }
        arguments.extend([self.argument(&log_sums)?, Argument::Bytes(bytemuck::bytes_of(&shape))]);
        let grid = [tiles.len(), heads, 1];
        self.launch(kernel.name, grid, kernel.threads, kernel.shared, &arguments)?;
        Ok((out, log_sums))
    }

    pub(super) fn attend_gradient(
        &self,
        of: &Attention<'_, Tensor<R>>,
        grad: &Tensor<R>,
        out: &Tensor<R>,
        log_sum: &Tensor<R>,
    ) -> Result<[Tensor<R>; 3]> {
        let planned = self.planned(of)?;
        let ((rows, width), (key_rows, key_width)) = (of.q.size(), of.k.size());
        let heads = of.form.heads;
        grad.expect(rows, width, "gradient of attention")?;
        out.expect(rows, width, "outputs of attention")?;
        log_sum.expect(rows, heads.query, "log-sums of attention")?;
        let Planned { instance, shape, positions, drop_keys } = &planned;
        let (by_query, by_key) = (&instance.queries, &instance.keys);
        check_shared(&[by_query, by_key], shape.dim, self.runtime.shared(), instance.is_bf16)?;
        let along = self.unspecified(rows, heads.query)?;
        let (dim, count) = (Argument::U32(shape.dim), Argument::U64(along.len() as u64));
        let arguments =
            [self.operand(grad, instance)?, self.argument(out)?, self.argument(&along)?, dim, count];
        // One warp per element.
        let blocks = (along.len() * 32).div_ceil(THREADS as usize);
        self.launch(instance.along, [blocks, 1, 1], THREADS, 0, &arguments)?;

        let query_tiles = self.query_tiles(of, instance, by_query.side)?;
        let key_tiles = key_tiles(of.plan, by_key.side);
        let is_all = are_all(query_tiles.iter().map(QueryTile::rows), rows);
        let gradient = |rows, cols| self.unspecified_in(instance.is_bf16, rows, cols);
        let dq = self.written(is_all, gradient(rows, width)?)?;
        let is_all = are_all(key_tiles.iter().map(KeyTile::rows), key_rows);
        let dk = self.written(is_all, gradient(key_rows, key_width)?)?;
        let dv = self.written(is_all, gradient(key_rows, key_width)?)?;
        let (device_query_tiles, device_key_tiles) =
            (self.uploaded(&query_tiles)?, self.uploaded(&key_tiles)?);
        let both = [
            self.operand(of.q, instance)?,
            self.operand(grad, instance)?,
            self.argument(log_sum)?,
            self.argument(&along)?,
            Argument::At(positions.as_ref(), 0),
            drop_keys.as_ref().map_or(Argument::Null, |keys| Argument::At(keys, 0)),
        ];
        let shape = Argument::Bytes(bytemuck::bytes_of(shape));
        let of_queries = [Argument::At(device_query_tiles.as_ref(), 0), self.operand(&dq, instance)?, shape];
        let arguments = [&both[..], &of_queries].concat();
        let grid = [query_tiles.len(), heads.query, 1];
        self.launch(by_query.name, grid, by_query.threads, by_query.shared, &arguments)?;

        let mut arguments = both.to_vec();
        arguments.extend([
            Argument::At(device_key_tiles.as_ref(), 0),
            self.operand(of.k, instance)?,
            self.operand(of.v, instance)?,
        ]);
        arguments.extend([self.operand(&dk, instance)?, self.operand(&dv, instance)?, shape]);
        let grid = [key_tiles.len(), heads.kv, 1];
        self.launch(by_key.name, grid, by_key.threads, by_key.shared, &arguments)?;
        Ok([dq, dk, dv])
    }

    pub(super) fn attend_tangent(
        &self,
        of: &Attention<'_, Tensor<R>>,
        tangents: [&Tensor<R>; 3],
        log_sum: &Tensor<R>,
    ) -> Result<Tensor<R>> {
        of.check_tangents(tangents, log_sum, CudaTensor::size)?;
        let planned = self.planned(of)?;
        let available = self.runtime.shared();
        let kernel = Kernel::of_tangents(of.form.heads.dim, available)?;
        check_shared(&[&kernel], planned.shape.dim, available, false)?;
        let places = [self.values(of.k)?, self.values(of.v)?];
        let width = of.k.size().1;
        let rows = |row| places.map(|place| row_address(place, row, width, 4));
        let out = self.zeros(of.q.size().0, of.q.size().1)?;
        let tiles = query_tiles(of.plan, of.form, rows, kernel.side);
        let device_tiles = self.uploaded(&tiles)?;
        let [dq, dk, dv] = tangents;
        let arguments = [
            self.argument(of.q)?,
            self.argument(dq)?,
            self.argument(dk)?,
            self.argument(dv)?,
            self.argument(log_sum)?,
            Argument::At(planned.positions.as_ref(), 0),
            Argument::At(device_tiles.as_ref(), 0),
            self.argument(&out)?,
            Argument::Bytes(bytemuck::bytes_of(&planned.shape)),
        ];
        let grid = [tiles.len(), of.form.heads.query, 1];
        self.launch(kernel.name, grid, kernel.threads, kernel.shared, &arguments)?;
        Ok(out)
    }
}
