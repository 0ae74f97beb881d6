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
    let (m, n, k) = (dst.rows, dst.cols, lhs.cols);
    assert!(lhs.rows == m && rhs.cols == n && rhs.rows == k, "sizes of a product");
    assert!(dst.row_stride >= n && fits(dst.data.len(), m, n, dst.row_stride, 1), "destination of a product");
    assert!(lhs.fits() && rhs.fits(), "factors of a product");
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if write == Write::Replace {
            dst.data.chunks_mut(dst.row_stride).take(m).for_each(|row| row[..n].fill(0.0));
        }
        return;
    }
    // SAFETY: the assertions above keep every element that gemm touches inside its slice: for each matrix the largest index is
    // (rows - 1) * row_stride + (cols - 1) * col_stride. `dst` is borrowed mutably, so it overlaps neither factor, and its rows do not
    // overlap each other because its row stride is at least its width. All strides are slice lengths, so they fit in isize.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.data.as_mut_ptr(),
            1,
            dst.row_stride as isize,
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
