//! Long curves made short: thinned without losing extremes, and smoothed.
//!
//! In → points by ascending x; out → fewer points, or as many smoother ones. **Thinning.** The
//! range of x is cut into equal cells; of each cell the first, the lowest, the highest and the last
//! point are kept, in their order (M4: Jugel and others 2014, *VLDB*), so a line through them
//! covers the same pixels as one through all, and no spike is lost. **Smoothing.** An exponential
//! mean whose weights sum to one from the first point on. Pure; one pass each.

/// A point of a curve.
pub type Point = (f64, f64);

/// At most `4 · cells` of `points`, among them every cell's extremes; points that are not finite
/// are left out.
pub fn thin(points: &[Point], cells: usize) -> Vec<Point> {
    let finite = || points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite());
    let kept: Vec<Point> = finite().collect();
    let (Some(first), Some(last)) = (kept.first(), kept.last()) else { return kept };
    if kept.len() <= 4 * cells {
        return kept;
    }
    let width = (last.0 - first.0).max(f64::MIN_POSITIVE) / cells as f64;
    let cell_of = |point: &Point| (((point.0 - first.0) / width) as usize).min(cells - 1);
    let mut thinned = Vec::with_capacity(4 * cells);
    for cell in kept.chunk_by(|a, b| cell_of(a) == cell_of(b)) {
        let by = |a: &usize, b: &usize| cell[*a].1.total_cmp(&cell[*b].1);
        let lowest = (0..cell.len()).min_by(by).unwrap_or(0);
        let highest = (0..cell.len()).max_by(by).unwrap_or(0);
        let mut places = [0, lowest, highest, cell.len() - 1];
        places.sort_unstable();
        for (at, place) in places.iter().enumerate() {
            if at == 0 || places[at - 1] != *place {
                thinned.push(cell[*place]);
            }
        }
    }
    thinned
}

/// The exponential mean over about `window` points.
pub fn smooth(points: &[Point], window: f64) -> Vec<Point> {
    let keep = 1.0 - 1.0 / window.max(1.0);
    let (mut sum, mut weight) = (0.0, 0.0);
    let smoothed = points.iter().map(|&(x, y)| {
        sum = keep * sum + y;
        weight = keep * weight + 1.0;
        (x, sum / weight)
    });
    smoothed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_ends_and_every_extreme() {
        let mut points: Vec<Point> = (0..100_000).map(|x| (f64::from(x), 3.0)).collect();
        points[777].1 = 11.0;
        points[90_001].1 = -5.0;
        points[5].1 = f64::NAN;
        let thinned = thin(&points, 300);
        assert!(thinned.len() <= 1200, "{}", thinned.len());
        assert!(thinned.contains(&(777.0, 11.0)) && thinned.contains(&(90_001.0, -5.0)));
        assert_eq!((thinned[0], thinned[thinned.len() - 1]), ((0.0, 3.0), (99_999.0, 3.0)));
        assert!(thinned.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(thin(&points[6..20], 300), &points[6..20]);
        assert_eq!(thin(&[], 300), []);
    }

    #[test]
    fn the_smoothed_curve_begins_at_the_first_point_and_follows() {
        let points = [(0.0, 4.0), (1.0, 2.0), (2.0, 2.0)];
        let smoothed = smooth(&points, 2.0);
        assert_eq!(smoothed[0], (0.0, 4.0));
        assert!((smoothed[1].1 - 8.0 / 3.0).abs() < 1e-12, "{smoothed:?}");
        assert_eq!(smooth(&points, 1.0), points);
    }
}
