//! Matrix products of slices, on the calling thread.

/// A matrix inside a slice.
#[derive(Clone, Copy)]
pub(super) struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Mat<'a> {
    /// A row-major matrix that fills the slice.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Mat<'a> {
        Mat::strided(data, rows, cols, cols)
    }

    /// A row-major matrix whose rows start `stride` values apart.
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Mat<'a> {
        Mat { data, rows, cols, row_stride: stride, col_stride: 1 }
    }

    /// The transpose.
    pub fn t(self) -> Mat<'a> {
        Mat {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    fn fits(&self) -> bool {
        fits(self.data.len(), self.rows, self.cols, self.row_stride, self.col_stride)
    }
}

/// A row-major matrix that is written to.
pub(super) struct MatMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

impl<'a> MatMut<'a> {
    /// A row-major matrix that fills the slice.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize) -> MatMut<'a> {
        MatMut { data, rows, cols, row_stride: cols }
    }

    /// A row-major matrix whose rows start `stride` values apart.
    pub fn strided(data: &'a mut [f32], rows: usize, cols: usize, stride: usize) -> MatMut<'a> {
        MatMut { data, rows, cols, row_stride: stride }
    }
}

/// Whether the product replaces the destination or is added to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    Replace,
    Add,
}

fn fits(len: usize, rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> bool {
    rows == 0 || cols == 0 || (rows - 1) * row_stride + (cols - 1) * col_stride < len
}

/// `dst = scale * lhs rhs`, or added to `dst`. Single-threaded; the same shapes and values give the same bits.
///
/// Panics if a matrix does not fit its slice or the sizes disagree.
pub(super) fn multiply(dst: MatMut<'_>, write: Write, lhs: Mat<'_>, rhs: Mat<'_>, scale: f32) {
    assert!(lhs.rows == dst.rows && rhs.cols == dst.cols, "sizes of a product");
    assert!(dst.row_stride >= dst.cols, "destination of a product");
    assert!(fits(dst.data.len(), dst.rows, dst.cols, dst.row_stride, 1), "destination of a product");
    if lhs.cols == 0 && write == Write::Replace {
        dst.data.chunks_mut(dst.row_stride.max(1)).take(dst.rows).for_each(|row| row[..dst.cols].fill(0.0));
    }
    // SAFETY: the assertions keep every element of `dst` inside its slice, whose elements are initialised.
    #[allow(unsafe_code)]
    unsafe {
        run(dst.data.as_mut_ptr(), dst.row_stride, write, lhs, rhs, scale);
    }
}

/// `lhs rhs` as a new row-major vector.
///
/// Panics like [`multiply`].
pub(super) fn product(lhs: Mat<'_>, rhs: Mat<'_>) -> Vec<f32> {
    let len = lhs.rows * rhs.cols;
    if lhs.cols == 0 {
        return vec![0.0; len];
    }
    let mut out = Vec::with_capacity(len);
    // SAFETY: the vector has room for `len` elements, the rows lie side by side, and a product that replaces its destination writes every
    // element without reading any, so all of them are initialised before the length says so.
    #[allow(unsafe_code)]
    unsafe {
        run(out.as_mut_ptr(), rhs.cols, Write::Replace, lhs, rhs, 1.0);
        out.set_len(len);
    }
    out
}

/// Calls the matrix library.
///
/// # Safety
/// `dst` points to `lhs.rows` rows of `rhs.cols` elements whose starts are `row_stride >= rhs.cols` apart, valid for writes, and initialised
/// if `write` is [`Write::Add`]. It overlaps neither factor.
#[allow(unsafe_code)]
unsafe fn run(dst: *mut f32, row_stride: usize, write: Write, lhs: Mat<'_>, rhs: Mat<'_>, scale: f32) {
    let (m, n, k) = (lhs.rows, rhs.cols, lhs.cols);
    assert!(rhs.rows == k, "sizes of a product");
    assert!(lhs.fits() && rhs.fits(), "factors of a product");
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    // SAFETY: the caller vouches for `dst`. The assertion above keeps the largest index of each factor,
    // (rows - 1) * row_stride + (cols - 1) * col_stride, inside its slice. Strides are at most slice lengths, so they fit in isize.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst,
            1,
            row_stride as isize,
            write == Write::Add,
            lhs.data.as_ptr(),
            lhs.col_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr(),
            rhs.col_stride as isize,
            rhs.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_definition() {
        let a: Vec<f32> = (0..6).map(|i| i as f32 - 2.0).collect();
        let b: Vec<f32> = (0..12).map(|i| (i * i) as f32 * 0.1).collect();
        let mut c = vec![1.0; 8];
        multiply(MatMut::new(&mut c, 2, 4), Write::Add, Mat::new(&a, 2, 3), Mat::new(&b, 4, 3).t(), 2.0);
        for i in 0..2 {
            for j in 0..4 {
                let sum: f32 = (0..3).map(|p| a[i * 3 + p] * b[j * 3 + p]).sum();
                assert!((c[i * 4 + j] - (1.0 + 2.0 * sum)).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn an_empty_inner_dimension_gives_zeros() {
        let mut c = vec![1.0; 4];
        multiply(MatMut::new(&mut c, 2, 2), Write::Replace, Mat::new(&[], 2, 0), Mat::new(&[], 0, 2), 1.0);
        assert_eq!(c, [0.0; 4]);
    }

    #[test]
    #[should_panic(expected = "factors of a product")]
    fn a_matrix_larger_than_its_slice_is_refused() {
        multiply(
            MatMut::new(&mut [0.0; 4], 2, 2),
            Write::Replace,
            Mat::new(&[1.0; 3], 2, 2),
            Mat::new(&[1.0; 4], 2, 2),
            1.0,
        );
    }
}
