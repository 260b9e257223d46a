//! Where the boxes of the SVG go: Sugiyama's method in its simplest useful form.
//!
//! One row per level; an edge over several rows gets a narrow slot in each row that it crosses, so that it runs between the
//! boxes; rows are ordered by the mean place of their neighbours (barycenter), then moved sideways towards them as far as
//! the least distances allow. Everything is iterative and bounded.

use std::collections::HashMap;

use crate::graph::Dag;

/// Width of a box.
pub(super) const BOX_WIDTH: f64 = 250.0;
/// Height of a box.
pub(super) const BOX_HEIGHT: f64 = 62.0;
const GAP_ACROSS: f64 = 28.0;
const GAP_DOWN: f64 = 54.0;
const SLOT_WIDTH: f64 = 8.0;
const SWEEPS: usize = 6;
/// With more slots than this the picture is beyond reading, and long edges run straight.
const MOST_SLOTS: usize = 20_000;

/// A finished layout.
pub(super) struct Layout {
    /// Centre of each box, by position in the model.
    pub(super) boxes: Vec<(f64, f64)>,
    /// Points of each edge from the bottom of the parent to the top of the child.
    pub(super) edges: Vec<Vec<(f64, f64)>>,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// One place in a row: a box, or the slot of an edge that passes through.
struct Place {
    row: usize,
    width: f64,
    above: Vec<usize>,
    below: Vec<usize>,
    x: f64,
}

/// Lays out `count` boxes with edges given as positions. Edges that form a cycle are no DAG; all boxes then share a row.
pub(super) fn layout(count: usize, edges: &[(usize, usize)]) -> Layout {
    let levels = levels(count, edges);
    let (mut places, chains) = places(&levels, edges);
    let mut rows = rows(&places);
    order(&mut places, &mut rows);
    spread(&mut places, &rows);
    let left = places
        .iter()
        .map(|place| place.x - place.width / 2.0)
        .fold(f64::INFINITY, f64::min);
    let right = places
        .iter()
        .map(|place| place.x + place.width / 2.0)
        .fold(f64::NEG_INFINITY, f64::max);
    let (left, right) = if places.is_empty() {
        (0.0, 0.0)
    } else {
        (left, right)
    };
    let row_top = |row: usize| row as f64 * (BOX_HEIGHT + GAP_DOWN);
    let boxes = places[..count]
        .iter()
        .map(|place| (place.x - left, row_top(place.row) + BOX_HEIGHT / 2.0))
        .collect();
    let edges = chains
        .iter()
        .map(|chain| {
            let last = chain.len() - 1;
            let mut points = Vec::with_capacity(chain.len() * 2);
            for (index, place) in chain.iter().enumerate() {
                let (x, top) = (places[*place].x - left, row_top(places[*place].row));
                if index > 0 {
                    points.push((x, top));
                }
                if index < last {
                    points.push((x, top + BOX_HEIGHT));
                }
            }
            points
        })
        .collect();
    Layout {
        boxes,
        edges,
        width: right - left,
        height: if rows.is_empty() {
            0.0
        } else {
            row_top(rows.len()) - GAP_DOWN
        },
    }
}

fn levels(count: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut levels = vec![0; count];
    let mut edges = edges.to_vec();
    edges.sort_unstable();
    edges.dedup();
    if let Ok(dag) = Dag::from_indexes(vec![String::new(); count], edges) {
        for (at, level) in dag.template_order().iter().zip(dag.levels()) {
            levels[*at] = *level as usize;
        }
    }
    levels
}

/// The places, boxes first, and for each edge the places that it runs through.
fn places(levels: &[usize], edges: &[(usize, usize)]) -> (Vec<Place>, Vec<Vec<usize>>) {
    let place = |row, width| Place {
        row,
        width,
        above: Vec::new(),
        below: Vec::new(),
        x: 0.0,
    };
    let mut places: Vec<Place> = levels
        .iter()
        .map(|level| place(*level, BOX_WIDTH))
        .collect();
    let between =
        |(parent, child): &(usize, usize)| levels[*child].saturating_sub(levels[*parent] + 1);
    let slots: usize = edges.iter().map(between).fold(0, usize::saturating_add);
    let mut chains = Vec::with_capacity(edges.len());
    for (parent, child) in edges {
        let mut chain = vec![*parent];
        if slots <= MOST_SLOTS {
            for row in levels[*parent] + 1..levels[*child] {
                chain.push(places.len());
                places.push(place(row, SLOT_WIDTH));
            }
        }
        chain.push(*child);
        for pair in chain.windows(2) {
            places[pair[0]].below.push(pair[1]);
            places[pair[1]].above.push(pair[0]);
        }
        chains.push(chain);
    }
    (places, chains)
}

fn rows(places: &[Place]) -> Vec<Vec<usize>> {
    let count = places.iter().map(|place| place.row + 1).max().unwrap_or(0);
    let mut rows = vec![Vec::new(); count];
    for (index, place) in places.iter().enumerate() {
        rows[place.row].push(index);
    }
    rows
}

/// Sorts each row by the mean position of the neighbours in the row before, downwards and upwards in turn.
fn order(places: &mut [Place], rows: &mut [Vec<usize>]) {
    let mut rank: HashMap<usize, f64> = HashMap::with_capacity(places.len());
    let number = |row: &[usize], rank: &mut HashMap<usize, f64>| {
        for (index, place) in row.iter().enumerate() {
            rank.insert(*place, index as f64);
        }
    };
    for row in rows.iter() {
        number(row, &mut rank);
    }
    for sweep in 0..SWEEPS {
        let down = sweep % 2 == 0;
        let sequence: Vec<usize> = if down {
            (0..rows.len()).collect()
        } else {
            (0..rows.len()).rev().collect()
        };
        for at in sequence {
            let row = &mut rows[at];
            let mut keyed: Vec<(f64, usize)> = row
                .iter()
                .map(|place| {
                    let near = if down {
                        &places[*place].above
                    } else {
                        &places[*place].below
                    };
                    let own = rank.get(place).copied().unwrap_or(0.0);
                    (
                        mean(near.iter().filter_map(|other| rank.get(other).copied()))
                            .unwrap_or(own),
                        *place,
                    )
                })
                .collect();
            // Stable, so that equal means keep the order of the template.
            keyed.sort_by(|one, other| one.0.total_cmp(&other.0));
            *row = keyed.into_iter().map(|entry| entry.1).collect();
            number(row, &mut rank);
        }
    }
}

/// Gives every place its x: first side by side, then towards the mean of its neighbours.
fn spread(places: &mut [Place], rows: &[Vec<usize>]) {
    for row in rows {
        let wanted = vec![0.0; row.len()];
        settle(places, row, &wanted);
    }
    for sweep in 0..SWEEPS {
        let down = sweep % 2 == 0;
        let sequence: Vec<usize> = if down {
            (0..rows.len()).collect()
        } else {
            (0..rows.len()).rev().collect()
        };
        for at in sequence {
            let wanted: Vec<f64> = rows[at]
                .iter()
                .map(|index| {
                    let place = &places[*index];
                    let near = if down { &place.above } else { &place.below };
                    mean(near.iter().map(|other| places[*other].x)).unwrap_or(place.x)
                })
                .collect();
            settle(places, &rows[at], &wanted);
        }
    }
}

/// Puts a row as close to the wanted places as its order and least distances allow, in the sense of least squares: with the
/// distances taken off this is isotonic regression, solved by pooling neighbours that would overtake each other.
fn settle(places: &mut [Place], row: &[usize], wanted: &[f64]) {
    let mut offsets = Vec::with_capacity(row.len());
    let mut offset = 0.0;
    for (index, place) in row.iter().enumerate() {
        if index > 0 {
            offset += (places[row[index - 1]].width + places[*place].width) / 2.0 + GAP_ACROSS;
        }
        offsets.push(offset);
    }
    // Each pool: sum of wanted places, number of members.
    let mut pools: Vec<(f64, usize)> = Vec::with_capacity(row.len());
    for (want, offset) in wanted.iter().zip(&offsets) {
        let mut pool = (want - offset, 1);
        while let Some(before) = pools.last() {
            if before.0 / before.1 as f64 <= pool.0 / pool.1 as f64 {
                break;
            }
            pool = (pool.0 + before.0, pool.1 + before.1);
            pools.pop();
        }
        pools.push(pool);
    }
    let mut members = row.iter().zip(&offsets);
    for (sum, count) in pools {
        for (place, offset) in members.by_ref().take(count) {
            places[*place].x = sum / count as f64 + offset;
        }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| {
        (sum + value, count + 1)
    });
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_chain_is_a_straight_line() {
        let layout = layout(3, &[(0, 1), (1, 2)]);
        assert!(layout.boxes.iter().all(|(x, _)| *x == layout.boxes[0].0));
        assert_eq!(layout.width, BOX_WIDTH);
    }

    #[test]
    fn the_branches_of_a_diamond_stand_beside_its_axis() {
        let layout = layout(4, &[(0, 1), (0, 2), (1, 3), (2, 3)]);
        let x: Vec<f64> = layout.boxes.iter().map(|at| at.0).collect();
        assert!(
            (x[0] - x[3]).abs() < 0.5 && x[1] < x[0] && x[0] < x[2],
            "{x:?}"
        );
    }

    #[test]
    fn crossing_branches_are_untangled() {
        // Two chains whose second halves are listed in the wrong order.
        let layout = layout(4, &[(0, 3), (1, 2)]);
        assert_eq!(
            layout.boxes[0].0 < layout.boxes[1].0,
            layout.boxes[3].0 < layout.boxes[2].0
        );
    }

    #[test]
    fn nothing_at_all_has_no_size() {
        let layout = layout(0, &[]);
        assert_eq!((layout.width, layout.height), (0.0, 0.0));
    }

    proptest! {
        #[test]
        fn boxes_never_overlap_and_edges_run_downwards(
            count in 1usize..40,
            pairs in prop::collection::btree_set((0usize..40, 0usize..40), 0..80),
        ) {
            let edges: Vec<_> = pairs.into_iter().filter(|(a, b)| a < b && *b < count).collect();
            let layout = layout(count, &edges);
            for (index, one) in layout.boxes.iter().enumerate() {
                prop_assert!(one.0 >= BOX_WIDTH / 2.0 - 0.01 && one.0 <= layout.width - BOX_WIDTH / 2.0 + 0.01);
                prop_assert!(one.1 >= 0.0 && one.1 <= layout.height);
                for other in &layout.boxes[index + 1..] {
                    let apart = (one.0 - other.0).abs() >= BOX_WIDTH || (one.1 - other.1).abs() >= BOX_HEIGHT;
                    prop_assert!(apart, "{one:?} {other:?}");
                }
            }
            for (points, (parent, child)) in layout.edges.iter().zip(&edges) {
                prop_assert!(points.windows(2).all(|pair| pair[0].1 <= pair[1].1));
                prop_assert_eq!(points[0].0, layout.boxes[*parent].0);
                prop_assert_eq!(points[points.len() - 1].0, layout.boxes[*child].0);
                // In a row that it only crosses, an edge keeps clear of every box.
                for (x, y) in &points[1..points.len() - 1] {
                    for at in &layout.boxes {
                        let clear = (x - at.0).abs() > BOX_WIDTH / 2.0 || (y - at.1).abs() > BOX_HEIGHT / 2.0 + 0.01;
                        prop_assert!(clear, "{x} {y} {at:?}");
                    }
                }
            }
        }
    }
}
