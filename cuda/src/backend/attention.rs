//! Packed causal attention: outputs, gradients and tangents, in tiles.

use gstore_model::Attention;

use super::tiles::{AttentionShape, Instance, QueryTile, key_tiles, query_tiles};
use super::{Cuda, CudaTensor, THREADS, Tensor, number};
use crate::runtime::{Argument, Result, Runtime};

/// Device data that the kernels of a plan share.
struct Planned<M> {
    instance: Instance,
    shape: AttentionShape,
    positions: M,
    drop_keys: Option<M>,
}

impl<R: Runtime> Cuda<R> {
    fn planned(&self, of: &Attention<'_, Tensor<R>>) -> Result<Planned<R::Memory>> {
        of.check(CudaTensor::size)?;
        number(of.q.size().0.max(of.k.size().0))?;
        Ok(Planned {
            instance: Instance::of(of.form.heads.dim)?,
            shape: AttentionShape::new(of.form, of.dropout)?,
            positions: self.upload(&of.plan.positions)?,
            drop_keys: of.dropout.map(|dropout| self.upload(dropout.keys)).transpose()?,
        })
    }

    pub(super) fn attend(&self, of: &Attention<'_, Tensor<R>>) -> Result<(Tensor<R>, Tensor<R>)> {
        let planned = self.planned(of)?;
        let tiles = query_tiles(of.plan, of.form, [of.k, of.v], planned.instance.side);
        let positions = (&planned.positions, planned.drop_keys.as_ref());
        self.attend_tiles(of.q, &tiles, positions, &planned.instance, planned.shape)
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
        let (rows, width) = q.size();
        let heads = shape.query_heads as usize;
        let (out, log_sums) = (self.zeros(rows, width)?, self.zeros(rows, heads)?);
        let device_tiles = self.upload(tiles)?;
        let arguments = [
            q.argument(),
            Argument::At(&device_tiles, 0),
            Argument::At(positions, 0),
            drop_keys.map_or(Argument::Null, |keys| Argument::At(keys, 0)),
            out.argument(),
            log_sums.argument(),
            Argument::Bytes(bytemuck::bytes_of(&shape)),
        ];
        let shared = instance.shared(shape.dim as usize, 2, 1);
        self.launch(instance.forward, [tiles.len(), heads, 1], 256, shared, &arguments)?;
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
        let along = self.unspecified(rows, heads.query)?;
        let (dim, count) = (Argument::U32(planned.shape.dim), Argument::U64(along.len() as u64));
        let arguments = [grad.argument(), out.argument(), along.argument(), dim, count];
        // One warp per element.
        let blocks = (along.len() * 32).div_ceil(THREADS as usize);
        self.launch("attention_along", [blocks, 1, 1], THREADS, 0, &arguments)?;

        let Planned { instance, shape, positions, drop_keys } = &planned;
        let dq = self.zeros(rows, width)?;
        let [dk, dv] = [self.zeros(key_rows, key_width)?, self.zeros(key_rows, key_width)?];
        let query_tiles = query_tiles(of.plan, of.form, [of.k, of.v], instance.side);
        let key_tiles = key_tiles(of.plan, instance.side);
        let (device_query_tiles, device_key_tiles) = (self.upload(&query_tiles)?, self.upload(&key_tiles)?);
        let both = [
            of.q.argument(),
            grad.argument(),
            log_sum.argument(),
            along.argument(),
            Argument::At(positions, 0),
            drop_keys.as_ref().map_or(Argument::Null, |keys| Argument::At(keys, 0)),
        ];
        let shape = Argument::Bytes(bytemuck::bytes_of(shape));
        let of_queries = [Argument::At(&device_query_tiles, 0), dq.argument(), shape];
        let arguments = [&both[..], &of_queries].concat();
        let grid = [query_tiles.len(), heads.query, 1];
        self.launch(instance.queries, grid, 256, instance.shared(heads.dim, 4, 1), &arguments)?;

        let keys_and_values = [of.k.argument(), of.v.argument(), dk.argument(), dv.argument(), shape];
        let arguments = [&both[..], &[Argument::At(&device_key_tiles, 0)], &keys_and_values].concat();
        let grid = [key_tiles.len(), heads.kv, 1];
        self.launch(instance.keys, grid, 256, instance.shared(heads.dim, 4, 2), &arguments)?;
        Ok([dq, dk, dv])
    }

    pub(super) fn attend_tangent(
        &self,
        of: &Attention<'_, Tensor<R>>,
        tangents: [&Tensor<R>; 3],
        log_sum: &Tensor<R>,
    ) -> Result<Tensor<R>> {
        of.check_tangents(tangents, log_sum, CudaTensor::size)?;
        let Planned { instance, shape, positions, .. } = self.planned(of)?;
        let out = self.zeros(of.q.size().0, of.q.size().1)?;
        let tiles = query_tiles(of.plan, of.form, [of.k, of.v], instance.side);
        let device_tiles = self.upload(&tiles)?;
        let [dq, dk, dv] = tangents;
        let arguments = [
            of.q.argument(),
            dq.argument(),
            dk.argument(),
            dv.argument(),
            log_sum.argument(),
            Argument::At(&positions, 0),
            Argument::At(&device_tiles, 0),
            out.argument(),
            Argument::Bytes(bytemuck::bytes_of(&shape)),
        ];
        let grid = [tiles.len(), of.form.heads.query, 1];
        self.launch(instance.tangent, grid, 256, instance.shared(of.form.heads.dim, 4, 2), &arguments)?;
        Ok(out)
    }
}
