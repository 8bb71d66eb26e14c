//! The 256-bit block that AVX-VNNI and AVX2 share: up to 6 rows of one panel, two registers of 8 columns.

/// Defines `multiply` for a target feature, the most rows of a block, and the instruction that adds 4 products to each
/// of 8 columns.
macro_rules! ymm_kernel {
    ($feature:literal, $most:literal, $dot:path) => {
        /// See [`Kernel::multiply`](super::Kernel::multiply).
        ///
        /// # Safety
        /// `tile` must describe valid arrays for `rows` and `panels`, and the machine must have the features.
        #[target_feature(enable = $feature)]
        pub(super) unsafe fn multiply(tile: Tile, rows: usize, panels: usize) {
            for panel in 0..panels {
                let mut row = 0;
                while row < rows {
                    let height = (rows - row).min($most);
                    // SAFETY: `panel < panels`, `row < rows`, and `height` rows are left.
                    unsafe {
                        let at = tile.at_panel(panel).at_row(row);
                        match height {
                            6 => block::<6>(at),
                            5 => block::<5>(at),
                            4 => block::<4>(at),
                            3 => block::<3>(at),
                            2 => block::<2>(at),
                            _ => block::<1>(at),
                        }
                    }
                    row += height;
                }
            }
        }

        #[target_feature(enable = $feature)]
        #[inline]
        unsafe fn block<const ROWS: usize>(tile: Tile) {
            let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
            // SAFETY: `tile` holds ROWS rows of `depth` bytes, one panel of `depth * PANEL` bytes, and 16 starts.
            unsafe {
                if !tile.start.is_null() {
                    for row in &mut sums {
                        for (half, sum) in row.iter_mut().enumerate() {
                            *sum = _mm256_loadu_si256(tile.start.add(half * 8).cast());
                        }
                    }
                }
                for group in 0..tile.depth / GROUP {
                    let weights = tile.weights.add(group * PANEL * GROUP);
                    let low = _mm256_load_si256(weights.cast());
                    let high = _mm256_load_si256(weights.add(32).cast());
                    for (m, row) in sums.iter_mut().enumerate() {
                        let q = tile.rows.add(m * tile.depth + group * GROUP).cast::<i32>().read_unaligned();
                        let q = _mm256_set1_epi32(q);
                        row[0] = $dot(row[0], q, low);
                        row[1] = $dot(row[1], q, high);
                    }
                }
                if !tile.ending.levels.is_null() {
                    return levels(tile.ending, sums);
                }
                // A copy, so that the sums themselves can stay in registers until here.
                let mut done = MaybeUninit::<[[__m256i; 2]; ROWS]>::uninit();
                let to = done.as_mut_ptr().cast::<__m256i>();
                for (m, row) in sums.iter().enumerate() {
                    to.add(2 * m).write(row[0]);
                    to.add(2 * m + 1).write(row[1]);
                }
                finish(tile, to.cast(), ROWS);
            }
        }

        #[target_feature(enable = $feature)]
        #[inline]
        unsafe fn levels<const ROWS: usize>(ending: Ending, sums: [[__m256i; 2]; ROWS]) {
            // SAFETY: scales, biases and rows of levels have a whole panel here, and there are ROWS rows.
            unsafe {
                let scale = [_mm256_loadu_ps(ending.scale), _mm256_loadu_ps(ending.scale.add(8))];
                let bias = [_mm256_loadu_ps(ending.bias), _mm256_loadu_ps(ending.bias.add(8))];
                for m in (0..ROWS).step_by(2) {
                    let other = (m + 1).min(ROWS - 1);
                    let ([a, b], [c, d]) = (sums[m], sums[other]);
                    let mut ends = [[_mm256_setzero_ps(); 2]; 4];
                    for (i, ends) in ends.iter_mut().enumerate() {
                        let row_scale = _mm256_set1_ps(*ending.row_scale.add(if i < 2 { m } else { other }));
                        *ends = [_mm256_mul_ps(row_scale, scale[i % 2]), bias[i % 2]];
                    }
                    let bytes = four_levels([a, b, c, d], ends, ending.blank);
                    let to = ending.levels.add(m * ending.stride);
                    _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(bytes));
                    if other > m {
                        _mm_storeu_si128(to.add(ending.stride).cast(), _mm256_extracti128_si256::<1>(bytes));
                    }
                }
            }
        }

        /// Out of the blocks, so that there is one copy of it.
        #[target_feature(enable = $feature)]
        #[inline(never)]
        unsafe fn finish(tile: Tile, sums: *const u32, rows: usize) {
            // SAFETY: the caller's promise.
            unsafe { tile.ending.write::<__m256, true>(sums, rows, PANEL) };
        }
    };
}

pub(super) use ymm_kernel;
