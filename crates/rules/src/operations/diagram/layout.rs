//! Where the boxes of the SVG go: Sugiyama's method in its simplest useful form.
//!
//! One row per level, several for a level that is too wide; an edge over several rows gets a narrow slot in each row that it
//! crosses, so that it runs between the boxes, and edges of one step share their slots. Rows are ordered by the mean place of
//! their neighbours (barycenter), the order with the fewest crossings wins, and the places are moved sideways towards their
//! neighbours as far as the least distances allow. Everything is iterative and bounded.

use std::collections::{HashMap, HashSet};

use crate::graph::Dag;

const GAP_ACROSS: f64 = 28.0;
/// Between an edge and a box or another edge.
const GAP_SLOT: f64 = 14.0;
/// Between two rows; more where edges run far to the side, so that they do not lie flat.
const GAP_DOWN: (f64, f64) = (44.0, 100.0);
const GAP_PER_SPAN: f64 = 0.09;
const SLOT_WIDTH: f64 = 2.0;
/// Between two edges at a box, and between an edge and its corner.
pub(super) const PORT_GAP: f64 = 16.0;
pub(super) const PORT_INSET: f64 = 18.0;
/// Boxes of one row: this many, or more in proportion to the height of a picture of that many steps.
const LEAST_ACROSS: usize = 6;
/// Rounds of ordering and of moving; fewer in pictures that are too large to read.
const SWEEPS: usize = 24;
const SWEEPS_OF_HUGE: usize = 6;
const HUGE: usize = 3_000;
/// With more slots than this, or more points on long edges, the other long edges run straight.
const MOST_SLOTS: usize = 20_000;
const MOST_POINTS: usize = 200_000;

/// A finished layout.
pub(super) struct Layout {
    /// Centre of each box, by position in the model.
    pub(super) boxes: Vec<(f64, f64)>,
    /// Points of each edge from the bottom of the parent to the top of the child.
    pub(super) edges: Vec<Vec<(f64, f64)>>,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// One place in a row: a box, or the slot of edges that pass through.
struct Place {
    row: usize,
    width: f64,
    above: Vec<usize>,
    below: Vec<usize>,
    /// A box of a level that takes several rows stays under the others, whatever its neighbours want.
    anchored: bool,
    x: f64,
}

impl Place {
    fn is_slot(&self) -> bool {
        self.width == SLOT_WIDTH
    }

    fn near(&self, down: bool) -> &[usize] {
        if down { &self.above } else { &self.below }
    }
}

/// Lays out `count` boxes of one size with edges given as positions. Edges that form a cycle are no DAG; all boxes are then
/// in the same few rows.
pub(super) fn layout(count: usize, edges: &[(usize, usize)], size: (f64, f64)) -> Layout {
    let mut row_of = levels(count, edges);
    let wrapped = wrap(&mut row_of);
    let (mut places, chains) = places(&row_of, edges, size.0);
    for (place, wrapped) in places.iter_mut().zip(wrapped) {
        place.anchored = wrapped;
    }
    let mut rows = rows(&places);
    let sweeps = if places.len() > HUGE {
        SWEEPS_OF_HUGE
    } else {
        SWEEPS
    };
    order(&places, &mut rows, sweeps);
    spread(&mut places, &rows, sweeps);
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
    let tops = tops(&places, rows.len(), size.1);
    let ports = ports(&places, &chains, size.0);
    let boxes = places[..count]
        .iter()
        .map(|place| (place.x - left, tops[place.row] + size.1 / 2.0))
        .collect();
    let edges = chains
        .iter()
        .zip(ports)
        .map(|(chain, (leaves, arrives))| {
            let last = chain.len() - 1;
            let mut points = Vec::with_capacity(chain.len() * 2);
            for (index, place) in chain.iter().enumerate() {
                let top = tops[places[*place].row];
                let x = match index {
                    0 => leaves,
                    index if index == last => arrives,
                    _ => places[*place].x,
                } - left;
                if index > 0 {
                    points.push((x, top));
                }
                if index < last {
                    points.push((x, top + size.1));
                }
            }
            points
        })
        .collect();
    Layout {
        boxes,
        edges,
        width: right - left,
        height: tops.last().map_or(0.0, |top| top + size.1),
    }
}

/// The level of each box: the length of the longest path to it.
pub(super) fn levels(count: usize, edges: &[(usize, usize)]) -> Vec<usize> {
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

/// Turns levels into rows: a level that is too wide for the picture takes several of about equal length. Which boxes are in
/// such a level.
fn wrap(row_of: &mut [usize]) -> Vec<bool> {
    let across = LEAST_ACROSS.max((1.4 * (row_of.len() as f64).sqrt()).ceil() as usize);
    let mut widths = vec![0usize; row_of.iter().map(|row| row + 1).max().unwrap_or(0)];
    for level in row_of.iter() {
        widths[*level] += 1;
    }
    let mut first_row = 0;
    let first_rows: Vec<usize> = widths
        .iter()
        .map(|width| {
            let first = first_row;
            first_row += width.div_ceil(across).max(1);
            first
        })
        .collect();
    let wrapped = row_of.iter().map(|level| widths[*level] > across).collect();
    let mut seen = vec![0usize; widths.len()];
    for row in row_of.iter_mut() {
        let level = *row;
        let in_row = widths[level].div_ceil(widths[level].div_ceil(across).max(1));
        *row = first_rows[level] + seen[level] / in_row;
        seen[level] += 1;
    }
    wrapped
}

/// The places, boxes first, and for each edge the places that it runs through.
fn places(
    row_of: &[usize],
    edges: &[(usize, usize)],
    box_width: f64,
) -> (Vec<Place>, Vec<Vec<usize>>) {
    let place = |row, width| Place {
        row,
        width,
        above: Vec::new(),
        below: Vec::new(),
        anchored: false,
        x: 0.0,
    };
    let mut places: Vec<Place> = row_of.iter().map(|row| place(*row, box_width)).collect();
    // Long edges out of a step, and into it: an edge shares its slots with those of its busier end.
    let is_long = |edge: &&(usize, usize)| row_of[edge.1] > row_of[edge.0] + 1;
    let mut busy = vec![(0usize, 0usize); row_of.len()];
    for (parent, child) in edges.iter().filter(is_long) {
        busy[*parent].0 += 1;
        busy[*child].1 += 1;
    }
    let mut slots: HashMap<(bool, usize, usize), usize> = HashMap::new();
    let mut chains = Vec::with_capacity(edges.len());
    let mut joined: HashSet<(usize, usize)> = HashSet::with_capacity(edges.len());
    let mut points = 0;
    for (parent, child) in edges {
        let from_parent = busy[*parent].0 >= busy[*child].1;
        let end = if from_parent { *parent } else { *child };
        let mut chain = vec![*parent];
        points += row_of[*child].saturating_sub(row_of[*parent] + 1);
        if slots.len() < MOST_SLOTS && points < MOST_POINTS {
            for row in row_of[*parent] + 1..row_of[*child] {
                chain.push(*slots.entry((from_parent, end, row)).or_insert_with(|| {
                    places.push(place(row, SLOT_WIDTH));
                    places.len() - 1
                }));
            }
        }
        chain.push(*child);
        for pair in chain.windows(2) {
            if joined.insert((pair[0], pair[1])) {
                places[pair[0]].below.push(pair[1]);
                places[pair[1]].above.push(pair[0]);
            }
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

/// The rows downwards, or upwards.
fn sequence(rows: usize, down: bool) -> Box<dyn Iterator<Item = usize>> {
    if down {
        Box::new(0..rows)
    } else {
        Box::new((0..rows).rev())
    }
}

/// Sorts each row by the mean position of the neighbours in the row before, downwards and upwards in turn, and keeps the
/// order with the fewest crossings.
fn order(places: &[Place], rows: &mut Vec<Vec<usize>>, sweeps: usize) {
    let mut rank = vec![0.0; places.len()];
    let number = |row: &[usize], rank: &mut [f64]| {
        for (index, place) in row.iter().enumerate() {
            rank[*place] = index as f64;
        }
    };
    for row in rows.iter() {
        number(row, &mut rank);
    }
    let mut best = (crossings(places, rows, &rank), rows.clone());
    for sweep in 0..sweeps {
        let down = sweep % 2 == 0;
        for at in sequence(rows.len(), down) {
            let mut keyed: Vec<(f64, usize)> = rows[at]
                .iter()
                .map(|place| {
                    let near = places[*place].near(down);
                    let wanted = mean(near.iter().map(|other| (rank[*other], 1.0)));
                    (wanted.unwrap_or(rank[*place]), *place)
                })
                .collect();
            // Stable, so that equal means keep the order of the template.
            keyed.sort_by(|one, other| one.0.total_cmp(&other.0));
            rows[at] = keyed.into_iter().map(|entry| entry.1).collect();
            number(&rows[at], &mut rank);
        }
        let found = crossings(places, rows, &rank);
        if found < best.0 {
            best = (found, rows.clone());
        }
        if best.0 == 0 {
            break;
        }
    }
    *rows = best.1;
}

/// How often edges cross, counted as inversions between each two rows.
fn crossings(places: &[Place], rows: &[Vec<usize>], rank: &[f64]) -> usize {
    let mut total = 0;
    for row in rows {
        let mut ends: Vec<usize> = Vec::new();
        for place in row {
            let mut below: Vec<usize> = places[*place]
                .below
                .iter()
                .map(|at| rank[*at] as usize)
                .collect();
            below.sort_unstable();
            ends.extend(below);
        }
        // A tree of counts over the ranks: how many ends so far lie to the right of this one.
        let width = ends.iter().max().map_or(0, |most| most + 1);
        let mut tree = vec![0usize; width + 1];
        for (seen, end) in ends.iter().enumerate() {
            let mut upto = 0;
            let mut at = end + 1;
            while at > 0 {
                upto += tree[at];
                at &= at - 1;
            }
            total += seen - upto;
            let mut at = end + 1;
            while at <= width {
                tree[at] += 1;
                at += at & at.wrapping_neg();
            }
        }
    }
    total
}

/// Gives every place its x: first side by side, then towards the mean of the neighbours on one side, last of both sides.
fn spread(places: &mut [Place], rows: &[Vec<usize>], sweeps: usize) {
    for row in rows {
        let wanted = vec![0.0; row.len()];
        settle(places, row, &wanted);
    }
    for sweep in 0..sweeps {
        let down = sweep % 2 == 0;
        let both = sweep + 4 >= sweeps;
        for at in sequence(rows.len(), down) {
            let anchored = rows[at].iter().filter(|index| places[**index].anchored);
            let mut centred = centred(anchored.map(|index| places[*index].width + GAP_ACROSS));
            let wanted: Vec<f64> = rows[at]
                .iter()
                .map(|index| {
                    let place = &places[*index];
                    if place.anchored {
                        return centred.next().unwrap_or(0.0);
                    }
                    let pull = |other: &usize| {
                        let straight = place.is_slot() && places[*other].is_slot();
                        (places[*other].x, if straight { 8.0 } else { 1.0 })
                    };
                    let first = place.near(down).iter().map(pull);
                    let second = place.near(!down).iter().map(pull);
                    let wanted = if both {
                        mean(first.chain(second))
                    } else {
                        mean(first)
                    };
                    wanted.unwrap_or(place.x)
                })
                .collect();
            settle(places, &rows[at], &wanted);
        }
    }
}

/// Puts a row as close to the wanted places as its order and least distances allow, in the sense of least squares: with the
/// distances taken off this is isotonic regression, solved by pooling neighbours that would overtake each other. Slots weigh
/// more than boxes, so that long edges stay straight.
fn settle(places: &mut [Place], row: &[usize], wanted: &[f64]) {
    let mut offsets = Vec::with_capacity(row.len());
    let mut offset = 0.0;
    for (index, place) in row.iter().enumerate() {
        if index > 0 {
            let (one, other) = (&places[row[index - 1]], &places[*place]);
            let gap = if one.is_slot() || other.is_slot() {
                GAP_SLOT
            } else {
                GAP_ACROSS
            };
            offset += (one.width + other.width) / 2.0 + gap;
        }
        offsets.push(offset);
    }
    // Each pool: weighted sum of wanted places, weight, number of members.
    let mut pools: Vec<(f64, f64, usize)> = Vec::with_capacity(row.len());
    for ((want, offset), place) in wanted.iter().zip(&offsets).zip(row) {
        let weight = match &places[*place] {
            place if place.anchored => 64.0,
            place if place.is_slot() => 8.0,
            _ => 1.0,
        };
        let mut pool = ((want - offset) * weight, weight, 1);
        while let Some(before) = pools.last() {
            if before.0 / before.1 <= pool.0 / pool.1 {
                break;
            }
            pool = (pool.0 + before.0, pool.1 + before.1, pool.2 + before.2);
            pools.pop();
        }
        pools.push(pool);
    }
    let mut members = row.iter().zip(&offsets);
    for (sum, weight, count) in pools {
        for (place, offset) in members.by_ref().take(count) {
            places[*place].x = sum / weight + offset;
        }
    }
}

/// Places side by side of these widths, with the middle of all at 0.
fn centred(widths: impl Iterator<Item = f64>) -> std::vec::IntoIter<f64> {
    let mut left = 0.0;
    let mut places: Vec<f64> = widths
        .map(|width| {
            left += width;
            left - width / 2.0
        })
        .collect();
    places.iter_mut().for_each(|place| *place -= left / 2.0);
    places.into_iter()
}

/// Where each edge leaves its parent and arrives at its child: side by side, in the order of where it comes from or goes to,
/// so that edges at one box neither lie on each other nor cross there. Edges that leave through one slot leave as one line.
fn ports(places: &[Place], chains: &[Vec<usize>], box_width: f64) -> Vec<(f64, f64)> {
    let x = |place: usize| places[place].x;
    let mut ports = vec![(0.0, 0.0); chains.len()];
    // Each edge at the box where it leaves, or arrives: the box, the next place of the edge, its other box, the edge.
    for arrives in [false, true] {
        let ends = chains.iter().enumerate().map(|(edge, chain)| {
            let last = chain.len() - 1;
            if arrives {
                (chain[last], chain[last - 1], chain[0], edge)
            } else {
                (chain[0], chain[1], chain[last], edge)
            }
        });
        let mut ends: Vec<_> = ends.collect();
        ends.sort_by(|one, other| {
            let by_place = one.0.cmp(&other.0).then(x(one.1).total_cmp(&x(other.1)));
            by_place.then(x(one.2).total_cmp(&x(other.2)))
        });
        for at_box in ends.chunk_by(|one, other| one.0 == other.0) {
            let apart = |pair: &[(usize, usize, usize, usize)]| arrives || pair[0].1 != pair[1].1;
            let count = at_box.windows(2).filter(|pair| apart(pair)).count();
            let room = box_width - 2.0 * PORT_INSET;
            let step = PORT_GAP.min(room / count.max(1) as f64);
            let mut at = x(at_box[0].0) - step * count as f64 / 2.0;
            for (index, (.., edge)) in at_box.iter().enumerate() {
                if index > 0 && apart(&at_box[index - 1..=index]) {
                    at += step;
                }
                let port = &mut ports[*edge];
                *(if arrives { &mut port.1 } else { &mut port.0 }) = at;
            }
        }
    }
    ports
}

/// The top of each row.
fn tops(places: &[Place], rows: usize, box_height: f64) -> Vec<f64> {
    let mut spans = vec![0.0f64; rows];
    for place in places {
        for other in &place.below {
            let span = (places[*other].x - place.x).abs();
            spans[place.row] = spans[place.row].max(span);
        }
    }
    let mut top = 0.0;
    spans
        .iter()
        .map(|span| {
            let here = top;
            top += box_height + (GAP_DOWN.0 + span * GAP_PER_SPAN).min(GAP_DOWN.1);
            here
        })
        .collect()
}

/// The mean of values with weights.
fn mean(values: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let (sum, weight) = values.fold((0.0, 0.0), |(sum, weight), (value, of)| {
        (sum + value * of, weight + of)
    });
    (weight > 0.0).then(|| sum / weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOX_WIDTH: f64 = 200.0;
    const BOX_HEIGHT: f64 = 50.0;

    fn layout(count: usize, edges: &[(usize, usize)]) -> Layout {
        super::layout(count, edges, (BOX_WIDTH, BOX_HEIGHT))
    }

    #[test]
    fn a_chain_is_a_straight_line() {
        let layout = layout(3, &[(0, 1), (1, 2)]);
        assert!(layout.boxes.iter().all(|(x, _)| *x == layout.boxes[0].0));
        assert_eq!(layout.width, BOX_WIDTH);
    }

    #[test]
    fn the_branches_of_a_diamond_are_drawn_left_and_right_of_its_axis() {
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

    #[test]
    fn a_wide_level_takes_several_rows() {
        let edges: Vec<_> = (1..=30)
            .flat_map(|middle| [(0, middle), (middle, 31)])
            .collect();
        let layout = layout(32, &edges);
        assert!(layout.width < 10.0 * BOX_WIDTH, "{}", layout.width);
        let mut tops: Vec<i64> = layout.boxes.iter().map(|at| at.1 as i64).collect();
        tops.sort_unstable();
        tops.dedup();
        assert_eq!(tops.len(), 6);
        assert_clear(&layout, &edges);
    }

    #[test]
    fn edges_into_one_box_end_side_by_side_and_do_not_cross() {
        // Three near parents, and three whose edges share a slot.
        let edges = [
            (0, 1),
            (1, 7),
            (2, 7),
            (3, 7),
            (0, 2),
            (0, 3),
            (0, 7),
            (4, 7),
            (5, 7),
        ];
        let layout = layout(8, &edges);
        let mut ends: Vec<((f64, f64), f64)> = layout
            .edges
            .iter()
            .zip(edges)
            .filter(|(_, edge)| edge.1 == 7)
            .map(|(points, _)| (points[points.len() - 2], points[points.len() - 1].0))
            .collect();
        ends.sort_by(|one, other| one.1.total_cmp(&other.1));
        assert_eq!(ends.len(), 6);
        for pair in ends.windows(2) {
            assert!(pair[1].1 - pair[0].1 >= 10.0, "{ends:?}");
            assert!(pair[0].0.0 <= pair[1].0.0, "{ends:?}");
        }
    }

    /// No two boxes overlap, everything lies inside, and no edge touches a box but its own two.
    fn assert_clear(layout: &Layout, edges: &[(usize, usize)]) {
        for (index, one) in layout.boxes.iter().enumerate() {
            assert!(
                one.0 >= BOX_WIDTH / 2.0 - 0.01 && one.0 <= layout.width - BOX_WIDTH / 2.0 + 0.01
            );
            assert!(one.1 >= BOX_HEIGHT / 2.0 && one.1 <= layout.height - BOX_HEIGHT / 2.0 + 0.01);
            for other in &layout.boxes[index + 1..] {
                let apart = (one.0 - other.0).abs() >= BOX_WIDTH + 10.0
                    || (one.1 - other.1).abs() >= BOX_HEIGHT + 10.0;
                assert!(apart, "{one:?} {other:?}");
            }
        }
        for (points, (parent, child)) in layout.edges.iter().zip(edges) {
            assert!(points.windows(2).all(|pair| pair[0].1 <= pair[1].1));
            for (end, at) in [(points[0], parent), (points[points.len() - 1], child)] {
                assert!((end.0 - layout.boxes[*at].0).abs() < BOX_WIDTH / 2.0 - PORT_INSET + 0.01);
            }
            for pair in points.windows(2) {
                for at in 0..=40 {
                    let (x, y) = on_curve(pair[0], pair[1], f64::from(at) / 40.0);
                    for (index, at) in layout.boxes.iter().enumerate() {
                        let clear = (x - at.0).abs() > BOX_WIDTH / 2.0 + 5.0
                            || (y - at.1).abs() > BOX_HEIGHT / 2.0;
                        let own = index == *parent || index == *child;
                        let touches = (y - at.1).abs() > BOX_HEIGHT / 2.0 - 0.01;
                        assert!(clear || own && touches, "{x} {y} {at:?}");
                    }
                }
            }
        }
    }

    /// A point of the curve that the picture draws between two points.
    fn on_curve(from: (f64, f64), to: (f64, f64), t: f64) -> (f64, f64) {
        let middle = (from.1 + to.1) / 2.0;
        let mix = |a: f64, b: f64, c: f64, d: f64| {
            let s = 1.0 - t;
            a * s * s * s + 3.0 * b * s * s * t + 3.0 * c * s * t * t + d * t * t * t
        };
        (
            mix(from.0, from.0, to.0, to.0),
            mix(from.1, middle, middle, to.1),
        )
    }

    proptest! {
        #[test]
        fn boxes_never_overlap_and_edges_run_between_them(
            count in 1usize..51,
            pairs in prop::collection::btree_set((0usize..50, 0usize..50), 0..100),
        ) {
            let edges: Vec<_> = pairs.into_iter().filter(|(a, b)| a < b && *b < count).collect();
            assert_clear(&layout(count, &edges), &edges);
        }
    }
}
