//! The drawing of who talks with whom: places on the left send flows through services to places on the right.

use super::page::Page;
use crate::model::units::{counted, show_count};
use crate::report::matrix::{Matrix, OTHERS};

const WIDTH: f64 = 1000.0;
/// Where the boxes of the three columns begin.
const COLUMNS: [f64; 3] = [238.0, 494.0, 750.0];
const BOX: f64 = 12.0;
/// What lies between two boxes of a column.
const GAP: f64 = 20.0;
/// The height of all flows, and of the smallest box.
const FLOWS: f64 = 300.0;
const LEAST: f64 = 5.0;
const TOP: f64 = 44.0;
/// So many characters of a name have room.
const NAME: usize = 27;
/// The colour of what stands for other services.
const GREY: usize = 9;

/// A box.
#[derive(Clone, Copy, Debug, Default)]
struct Node {
    y: f64,
    height: f64,
    flows: u64,
    /// How much of its left and its right side is taken.
    taken: [f64; 2],
}

/// Writes the drawing.
pub fn write(matrix: &Matrix, page: &mut Page) {
    let sides = [
        matrix.sources.len(),
        matrix.services.len(),
        matrix.destinations.len(),
    ];
    let mut columns: [Vec<Node>; 3] = sides.map(|count| vec![Node::default(); count]);
    for cell in &matrix.cells {
        for (column, node) in [cell.from, cell.service, cell.to].into_iter().enumerate() {
            columns[column][node].flows += cell.flows;
        }
    }
    let total: u64 = matrix.cells.iter().map(|cell| cell.flows).sum();
    let scale = FLOWS / total.max(1) as f64;
    for column in &mut columns {
        for node in column.iter_mut() {
            node.height = (node.flows as f64 * scale).max(LEAST);
        }
    }
    let heights = columns.each_ref().map(|column| {
        let boxes: f64 = column.iter().map(|node| node.height).sum();
        boxes + GAP * column.len().saturating_sub(1) as f64
    });
    let height = heights.iter().copied().fold(0.0, f64::max);
    for (column, own) in columns.iter_mut().zip(heights) {
        let mut y = TOP + (height - own) / 2.0;
        for node in column.iter_mut() {
            node.y = y;
            y += node.height + GAP;
        }
    }
    page.raw("<svg class=diagram role=img aria-labelledby=\"d-t d-d\" viewBox=\"0 0 ")
        .at(WIDTH)
        .raw(" ")
        .at(height + TOP + 16.0)
        .raw("\"><title id=d-t>Who talks with whom</title><desc id=d-d>");
    page.text("Bands from the networks of clients on the left over services to the networks of servers on the right; the table below has the same numbers.");
    page.raw("</desc>");
    for (x, heading) in [
        (COLUMNS[0] + BOX, "Clients"),
        (COLUMNS[1] + BOX / 2.0, "Services"),
        (COLUMNS[2], "Servers"),
    ] {
        let anchor = match heading {
            "Clients" => "end",
            "Services" => "middle",
            _ => "start",
        };
        page.raw("<text class=head x=\"")
            .at(x)
            .raw("\" y=\"14\" text-anchor=")
            .raw(anchor)
            .raw(">")
            .raw(heading)
            .raw("</text>");
    }
    bands(matrix, &mut columns, scale, page);
    boxes(matrix, &columns, page);
    page.raw("</svg>");
}

/// The colour of a service.
fn colour(matrix: &Matrix, service: usize) -> usize {
    match matrix.services[service] == OTHERS {
        true => GREY,
        false => service,
    }
}

/// Sums over cells by two of their places.
fn sums(
    matrix: &Matrix,
    ends: fn(&crate::report::matrix::Cell) -> (usize, usize),
) -> Vec<((usize, usize), u64)> {
    let mut sums = std::collections::BTreeMap::new();
    for cell in &matrix.cells {
        *sums.entry(ends(cell)).or_insert(0) += cell.flows;
    }
    sums.into_iter().collect()
}

fn bands(matrix: &Matrix, columns: &mut [Vec<Node>; 3], scale: f64, page: &mut Page) {
    page.raw("<g class=bands>");
    let left = sums(matrix, |cell| (cell.from, cell.service));
    let right = sums(matrix, |cell| (cell.service, cell.to));
    for (half, sums) in [left, right].into_iter().enumerate() {
        // What a box's sides have room for, where small bands are drawn thicker than they are.
        for ((from, to), flows) in sums {
            let service = if half == 0 { to } else { from };
            let names = match half {
                0 => [matrix.sources[from].name(), &matrix.services[to]],
                _ => [
                    matrix.services[from].as_str(),
                    matrix.destinations[to].name(),
                ],
            };
            let thick = (flows as f64 * scale).max(1.0);
            let [y0, y1] = [(half, from, 1), (half + 1, to, 0)].map(|(column, node, side)| {
                let node = &mut columns[column][node];
                let y = node.y + node.taken[side].min(node.height - thick.min(node.height));
                node.taken[side] += thick;
                y + thick / 2.0
            });
            let (x0, x1) = (COLUMNS[half] + BOX, COLUMNS[half + 1]);
            let middle = f64::midpoint(x0, x1);
            page.raw("<path class=s")
                .digits(colour(matrix, service))
                .raw(" d=\"M")
                .at(x0)
                .raw(" ")
                .at(y0);
            page.raw("C")
                .at(middle)
                .raw(" ")
                .at(y0)
                .raw(" ")
                .at(middle)
                .raw(" ")
                .at(y1)
                .raw(" ")
                .at(x1)
                .raw(" ")
                .at(y1);
            page.raw("\" stroke-width=\"").at(thick).raw("\"><title>");
            page.text(names[0])
                .raw(" → ")
                .text(names[1])
                .raw(": ")
                .text(&counted(flows, "flow"))
                .raw("</title></path>");
        }
    }
    page.raw("</g>");
}

fn boxes(matrix: &Matrix, columns: &[Vec<Node>; 3], page: &mut Page) {
    for (column, nodes) in columns.iter().enumerate() {
        for (at, node) in nodes.iter().enumerate() {
            let name = match column {
                0 => matrix.sources[at].name(),
                1 => &matrix.services[at],
                _ => matrix.destinations[at].name(),
            };
            let x = COLUMNS[column];
            page.raw("<rect class=\"node");
            if column == 1 {
                page.raw(" s").digits(colour(matrix, at));
            }
            page.raw("\" x=\"")
                .at(x)
                .raw("\" y=\"")
                .at(node.y)
                .raw("\" width=\"")
                .at(BOX);
            page.raw("\" height=\"")
                .at(node.height)
                .raw("\" rx=\"2\"/>");
            let (x, anchor) = match column {
                0 => (x - 7.0, "end"),
                1 => (x + BOX / 2.0, "middle"),
                _ => (x + BOX + 7.0, "start"),
            };
            // A service's name stands above its box, where no band passes.
            let y = match column {
                1 => node.y - 5.0,
                _ => node.y + node.height / 2.0 + 4.0,
            };
            page.raw("<text x=\"")
                .at(x)
                .raw("\" y=\"")
                .at(y)
                .raw("\" text-anchor=")
                .raw(anchor)
                .raw(">");
            page.text(&shortened(name))
                .raw(" <tspan class=n>")
                .text(&show_count(node.flows))
                .raw("</tspan></text>");
        }
    }
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= NAME {
        return name.to_owned();
    }
    let kept: String = name.chars().take(NAME - 1).collect();
    format!("{kept}…")
}
