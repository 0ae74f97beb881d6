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
        self.each_row("gather", y.size(), &[self.argument(x)?, Argument::At(&rows, 0), self.argument(&y)?])?;
        Ok(y)
    }

    pub(super) fn add_rows_to(&self, acc: Tensor<R>, rows: &[u32], x: &Tensor<R>) -> Result<Tensor<R>> {
        let (count, cols) = acc.size();
        check_rows(rows, count)?;
        x.expect(rows.len(), cols, "rows to add")?;
        let (acc, rows) = (self.owned(acc)?, self.upload(rows)?);
        self.each_row(
            "scatter_add",
            x.size(),
            &[self.argument(&acc)?, Argument::At(&rows, 0), self.argument(x)?],
        )?;
        Ok(acc)
    }

    pub(super) fn add_tensor(&self, acc: Tensor<R>, x: &Tensor<R>) -> Result<Tensor<R>> {
        let (rows, cols) = acc.size();
        x.expect(rows, cols, "tensor to add")?;
        let acc = self.owned(acc)?;
        self.each("add", x.len(), &[self.argument(&acc)?, self.argument(x)?])?;
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
        let (x, heads) = (self.owned_either(x)?, width / head_dim);
        let [wide, narrow] = x.either();
        let arguments = [
            wide,
            narrow,
            self.argument(cos)?,
            self.argument(sin)?,
            Argument::U32(number(heads)?),
            Argument::U32(number(head_dim)?),
            Argument::U32(number(half)?),
            Argument::F32(if inverse { -1.0 } else { 1.0 }),
        ];
        self.launch("rope", [rows, 1, 1], threads_for(2 * heads * half), 0, &arguments)?;
        Ok(x)
    }

    /// Runs an elementwise kernel on inputs and outputs, each in f32 or bf16. What it writes in f32 it also rounds, for
    /// the products that follow.
    fn activated(
        &self,
        kernel: &'static str,
        act: Activation,
        inputs: &[&Tensor<R>],
        outputs: &[&Tensor<R>],
    ) -> Result<()> {
        let mut arguments: Vec<_> = inputs.iter().flat_map(|x| x.either()).collect();
        for y in outputs {
            let [wide, narrow] = y.either();
            arguments.extend([wide, if y.is_narrow() { narrow } else { self.rounding(y)? }]);
        }
        arguments.push(code(act));
        self.each(kernel, outputs.first().map_or(0, |y| y.len()), &arguments)
    }

    pub(super) fn activation(&self, act: Activation, x: &Tensor<R>) -> Result<Tensor<R>> {
        let y = self.unspecified_as(x)?;
        self.activated("activate", act, &[x], &[&y])?;
        Ok(y)
    }

    pub(super) fn activation_gradient(
        &self,
        act: Activation,
        grad: Tensor<R>,
        x: &Tensor<R>,
    ) -> Result<Tensor<R>> {
        let (rows, cols) = x.size();
        grad.expect(rows, cols, "gradient of an activation")?;
        let grad = self.owned_either(grad)?;
        self.activated("activate_backward", act, &[&grad, x], &[&grad])?;
        Ok(grad)
    }

    pub(super) fn gate(&self, act: Activation, gate: &Tensor<R>, up: &Tensor<R>) -> Result<Tensor<R>> {
        let (rows, cols) = gate.size();
        up.expect(rows, cols, "second half of a gate")?;
        let y = self.unspecified_as(gate)?;
        self.activated("gated", act, &[gate, up], &[&y])?;
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
        let (dgate, dup) = (self.unspecified_as(grad)?, self.unspecified_as(grad)?);
        self.activated("gated_backward", act, &[grad, gate, up], &[&dgate, &dup])?;
        Ok([dgate, dup])
    }
}
