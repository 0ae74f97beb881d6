//! Operations on single elements: gathered and added rows, activations, rotary positions.

use gstore_model::Activation;
use gstore_model::sizes::{check, check_rows};

use super::{Cuda, Tensor, number, threads_for};
use crate::runtime::{Argument, Result, Runtime};

/// The number that selects a function in the kernels.
fn code<M>(act: Activation) -> Argument<'static, M> {
    Argument::U32(match act {
        Activation::Silu => 0,
        Activation::Gelu => 1,
        Activation::GeluTanh => 2,
        Activation::Relu => 3,
    })
}

impl<R: Runtime> Cuda<R> {
    pub(super) fn gather_rows(&self, x: &Tensor<R>, rows: &[u32]) -> Result<Tensor<R>> {
        let (count, cols) = x.size();
        check_rows(rows, count)?;
        let (y, rows) = (self.unspecified(rows.len(), cols)?, self.upload(rows)?);
        self.each_row("gather", y.size(), &[x.argument(), Argument::At(&rows, 0), y.argument()])?;
        Ok(y)
    }

    pub(super) fn add_rows_to(&self, acc: Tensor<R>, rows: &[u32], x: &Tensor<R>) -> Result<Tensor<R>> {
        let (count, cols) = acc.size();
        check_rows(rows, count)?;
        x.expect(rows.len(), cols, "rows to add")?;
        let (acc, rows) = (self.owned(acc)?, self.upload(rows)?);
        self.each_row("scatter_add", x.size(), &[acc.argument(), Argument::At(&rows, 0), x.argument()])?;
        Ok(acc)
    }

    pub(super) fn add_tensor(&self, acc: Tensor<R>, x: &Tensor<R>) -> Result<Tensor<R>> {
        let (rows, cols) = acc.size();
        x.expect(rows, cols, "tensor to add")?;
        let acc = self.owned(acc)?;
        self.each("add", x.len(), &[acc.argument(), x.argument()])?;
        Ok(acc)
    }

    pub(super) fn rotate(
        &self,
        x: Tensor<R>,
        cos: &Tensor<R>,
        sin: &Tensor<R>,
        head_dim: usize,
        inverse: bool,
    ) -> Result<Tensor<R>> {
        let ((rows, width), half) = (x.size(), cos.size().1);
        cos.expect(rows, half, "cosines of rotary positions")?;
        sin.expect(rows, half, "sines of rotary positions")?;
        let fits = half > 0 && half.checked_mul(2).is_some_and(|both| both <= head_dim);
        check(fits && width.is_multiple_of(head_dim), || {
            format!("heads of {head_dim} columns cannot turn {half} pairs in rows of {width}")
        })?;
        let (x, heads) = (self.owned(x)?, width / head_dim);
        let arguments = [
            x.argument(),
            cos.argument(),
            sin.argument(),
            Argument::U32(number(heads)?),
            Argument::U32(number(head_dim)?),
            Argument::U32(number(half)?),
            Argument::F32(if inverse { -1.0 } else { 1.0 }),
        ];
        self.launch("rope", [rows, 1, 1], threads_for(2 * heads * half), 0, &arguments)?;
        Ok(x)
    }

    pub(super) fn activation(&self, act: Activation, x: &Tensor<R>) -> Result<Tensor<R>> {
        let y = self.unspecified(x.size().0, x.size().1)?;
        self.each("activate", x.len(), &[x.argument(), y.argument(), self.rounding(&y)?, code(act)])?;
        Ok(y)
    }

    pub(super) fn activation_gradient(
        &self,
        act: Activation,
        grad: Tensor<R>,
        x: &Tensor<R>,
    ) -> Result<Tensor<R>> {
        grad.expect(x.size().0, x.size().1, "gradient of an activation")?;
        let grad = self.owned(grad)?;
        let arguments = [grad.argument(), x.argument(), self.rounding(&grad)?, code(act)];
        self.each("activate_backward", x.len(), &arguments)?;
        Ok(grad)
    }

    pub(super) fn gate(&self, act: Activation, gate: &Tensor<R>, up: &Tensor<R>) -> Result<Tensor<R>> {
        let (rows, cols) = gate.size();
        up.expect(rows, cols, "second half of a gate")?;
        let y = self.unspecified(rows, cols)?;
        let arguments = [gate.argument(), up.argument(), y.argument(), self.rounding(&y)?, code(act)];
        self.each("gated", y.len(), &arguments)?;
        Ok(y)
    }

    pub(super) fn gate_gradient(
        &self,
        act: Activation,
        grad: &Tensor<R>,
        gate: &Tensor<R>,
        up: &Tensor<R>,
    ) -> Result<[Tensor<R>; 2]> {
        let (rows, cols) = gate.size();
        up.expect(rows, cols, "second half of a gate")?;
        grad.expect(rows, cols, "gradient of a gate")?;
        let (dgate, dup) = (self.unspecified(rows, cols)?, self.unspecified(rows, cols)?);
        let arguments = [
            grad.argument(),
            gate.argument(),
            up.argument(),
            dgate.argument(),
            dup.argument(),
            self.rounding(&dgate)?,
            self.rounding(&dup)?,
            code(act),
        ];
        self.each("gated_backward", gate.len(), &arguments)?;
        Ok([dgate, dup])
    }
}
