//! Line charts as SVG that needs no script: axes, lines, bands, marks.
//!
//! In → lines of points; out → a `<figure>` with a title, a legend and one `<svg>` that scales with
//! the page. Colours are the page's classes `s0` … `s7`, so one drawing serves light and dark; the
//! page's script reads the attributes `data-…` to show the values under the pointer, and the chart
//! works without it. Long lines are thinned, with their extremes kept ([`series::thin`]). Pure.

use super::series::{self, Point};
use crate::base::html::{escape, put};

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stroke {
    /// The curve itself.
    Solid,
    /// A curve to compare with.
    Dashed,
    /// A curve in the background: the raw values before smoothing.
    Faint,
}

/// One line.
pub struct Line {
    /// Its name in the legend; lines of one name are shown and hidden together.
    pub name: String,
    /// The points, by ascending x.
    pub points: Vec<Point>,
    /// How it is drawn.
    pub stroke: Stroke,
    /// Which of the page's colours.
    pub color: usize,
}

/// A line chart.
pub struct Chart {
    /// The title above the chart.
    pub title: String,
    /// The unit of x, such as `tokens`.
    pub x: &'static str,
    /// The unit of y, such as `nats a token`.
    pub y: &'static str,
    /// What is drawn.
    pub lines: Vec<Line>,
    /// Vertical marks: the x of each, and its label.
    pub marks: Vec<(f64, String)>,
    /// (x, low, high): the interval of a forecast.
    pub band: Vec<(f64, f64, f64)>,
    /// Whether y is logarithmic; values at or below zero are then left out.
    pub logarithmic: bool,
    /// Whether it is one of many: half the height, fewer points.
    pub small: bool,
}

/// The number of colours on the page.
pub const COLORS: usize = 8;
/// The drawing in SVG units.
const WIDTH: f64 = 640.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 612.0;
const TOP: f64 = 8.0;
/// Cells of a thinned line: about one a pixel of a laptop's page, or of a small chart.
const CELLS: usize = 320;
const CELLS_SMALL: usize = 160;

impl Chart {
    /// An empty chart of full size.
    pub fn new(title: &str, x: &'static str, y: &'static str) -> Chart {
        Chart {
            title: title.to_owned(),
            x,
            y,
            lines: Vec::new(),
            marks: Vec::new(),
            band: Vec::new(),
            logarithmic: false,
            small: false,
        }
    }

    /// The `<figure>`; empty where no line has a point.
    pub fn figure(&self) -> String {
        let Some(frame) = Frame::around(self) else { return String::new() };
        let title = escape(&self.title);
        let class = if self.small { "chart small" } else { "chart" };
        let mut html = format!("<figure class=\"{class}\">\n<figcaption>{title}");
        put(&mut html, format_args!(" <small>{}</small></figcaption>\n", escape(self.y)));
        self.svg(&frame, &mut html);
        self.legend(&mut html);
        html.push_str("</figure>\n");
        html
    }

    fn svg(&self, frame: &Frame, html: &mut String) {
        let Frame { height, low, high, first, last, .. } = *frame;
        let scale = if self.logarithmic { "log" } else { "linear" };
        put(
            html,
            format_args!(
                "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}: {}\" \
                 data-x=\"{first},{last}\" data-y=\"{low},{high}\" \
                 data-plot=\"{LEFT},{RIGHT},{TOP},{}\" data-scale=\"{scale}\" data-unit=\"{}\">\n",
                escape(&self.title),
                escape(&self.spoken()),
                frame.floor(),
                escape(self.x)
            ),
        );
        self.axes(frame, html);
        self.draw_band(frame, html);
        for (x, what) in &self.marks {
            let (x, floor) = (frame.x(*x), frame.floor());
            let what = escape(what);
            put(
                html,
                format_args!(
                    "<path class=\"mark\" d=\"M{x:.1} {TOP}V{floor}\">\
                     <title>{what}</title></path>\n"
                ),
            );
        }
        let cells = if self.small { CELLS_SMALL } else { CELLS };
        for line in &self.lines {
            let points: Vec<Point> =
                line.points.iter().copied().filter(|p| frame.has(*p)).collect();
            let path = frame.path(&series::thin(&points, cells));
            let stroke = match line.stroke {
                Stroke::Solid => "solid",
                Stroke::Dashed => "dashed",
                Stroke::Faint => "faint",
            };
            let (color, name) = (line.color % COLORS, escape(&line.name));
            put(
                html,
                format_args!(
                    "<path class=\"line {stroke} s{color}\" data-name=\"{name}\" d=\"{path}\"/>\n"
                ),
            );
        }
        html.push_str("</svg>\n");
    }

    /// The description for screen readers: where each solid line begins and ends.
    fn spoken(&self) -> String {
        let solid = self.lines.iter().filter(|line| line.stroke == Stroke::Solid);
        let ends = solid.filter_map(|line| {
            let known = || line.points.iter().filter(|(_, y)| y.is_finite());
            let (first, last) = (known().next()?, known().next_back()?);
            Some(format!("{} from {} to {}", line.name, short(first.1), short(last.1)))
        });
        ends.take(COLORS).collect::<Vec<_>>().join("; ")
    }

    fn axes(&self, frame: &Frame, html: &mut String) {
        let floor = frame.floor();
        for value in ticks(frame.low, frame.high, self.logarithmic, if self.small { 3 } else { 5 })
        {
            let (y, label) = (frame.y(value), short(value));
            put(
                html,
                format_args!(
                    "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{RIGHT}\"/><text x=\"{}\" \
                     y=\"{:.1}\" text-anchor=\"end\">{label}</text>\n",
                    LEFT - 6.0,
                    y + 4.0
                ),
            );
        }
        for value in ticks(frame.first, frame.last, false, if self.small { 3 } else { 6 }) {
            let (x, label) = (frame.x(value), short(value));
            put(
                html,
                format_args!(
                    "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>\n",
                    floor + 17.0
                ),
            );
        }
    }

    fn draw_band(&self, frame: &Frame, html: &mut String) {
        if self.band.is_empty() {
            return;
        }
        let above = self.band.iter().map(|(x, _, high)| (*x, *high));
        let below = self.band.iter().rev().map(|(x, low, _)| (*x, *low));
        let path = frame.path(&above.chain(below).collect::<Vec<_>>());
        put(html, format_args!("<path class=\"band\" d=\"{path}Z\"/>\n"));
    }

    /// Names with their colours; a single line needs none, since the title names it.
    fn legend(&self, html: &mut String) {
        let mut named: Vec<(&str, &Line)> = Vec::new();
        for line in &self.lines {
            if named.iter().all(|(name, _)| *name != line.name) {
                named.push((&line.name, line));
            }
        }
        if named.len() < 2 {
            return;
        }
        html.push_str("<ul class=\"legend\">\n");
        for (name, line) in named {
            let (color, name) = (line.color % COLORS, escape(name));
            let stroke = match line.stroke {
                Stroke::Solid => "",
                Stroke::Dashed => " dashed",
                Stroke::Faint => " faint",
            };
            put(
                html,
                format_args!(
                    "<li data-name=\"{name}\"><i class=\"key{stroke} b{color}\"></i>{name}</li>\n"
                ),
            );
        }
        html.push_str("</ul>\n");
    }
}

/// The ranges of a chart, and where they lie in the drawing.
struct Frame {
    first: f64,
    last: f64,
    low: f64,
    high: f64,
    height: f64,
    logarithmic: bool,
}

impl Frame {
    /// The frame around every point; `None` without one.
    fn around(chart: &Chart) -> Option<Frame> {
        let (mut first, mut last) = (f64::INFINITY, f64::NEG_INFINITY);
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        let banded = chart.band.iter().flat_map(|(x, low, high)| [(*x, *low), (*x, *high)]);
        let points = chart.lines.iter().flat_map(|line| &line.points).copied().chain(banded);
        for (x, y) in points {
            if x.is_finite() && y.is_finite() && (!chart.logarithmic || y > 0.0) {
                (first, last) = (first.min(x), last.max(x));
                (low, high) = (low.min(y), high.max(y));
            }
        }
        if !(first.is_finite() && low.is_finite()) {
            return None;
        }
        let height = if chart.small { 200.0 } else { 300.0 };
        let logarithmic = chart.logarithmic;
        if high - low < 1e-12 * high.abs() || high == low {
            let around = if low == 0.0 { 1.0 } else { low.abs() * 0.1 };
            (low, high) = (low - around, high + around);
        } else if !logarithmic {
            let room = (high - low) * 0.04;
            (low, high) =
                (if low >= 0.0 { (low - room).max(0.0) } else { low - room }, high + room);
        }
        if logarithmic && low <= 0.0 {
            low = high / 10.0;
        }
        let last = if last > first { last } else { first + 1.0 };
        Some(Frame { first, last, low, high, height, logarithmic })
    }

    /// The y of the lowest value.
    fn floor(&self) -> f64 {
        self.height - 26.0
    }

    fn has(&self, (_, y): Point) -> bool {
        !self.logarithmic || y > 0.0
    }

    fn x(&self, x: f64) -> f64 {
        LEFT + (x - self.first) / (self.last - self.first) * (RIGHT - LEFT)
    }

    fn y(&self, y: f64) -> f64 {
        let share = match self.logarithmic {
            true => libm::log(y / self.low) / libm::log(self.high / self.low),
            false => (y - self.low) / (self.high - self.low),
        };
        self.floor() - share * (self.floor() - TOP)
    }

    fn path(&self, points: &[Point]) -> String {
        let mut path = String::with_capacity(points.len() * 12);
        for (at, &(x, y)) in points.iter().enumerate() {
            let letter = if at == 0 { 'M' } else { 'L' };
            put(&mut path, format_args!("{letter}{:.1} {:.2}", self.x(x), self.y(y)));
        }
        path
    }
}

/// About `count` round values between `low` and `high`.
fn ticks(low: f64, high: f64, logarithmic: bool, count: usize) -> Vec<f64> {
    if logarithmic && high / low > 3.0 {
        let mut values = Vec::new();
        let mut decade = libm::pow(10.0, libm::floor(libm::log10(low)));
        let digits: &[f64] = if high / low > 1e3 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        while decade <= high {
            values.extend(digits.iter().map(|digit| digit * decade));
            decade *= 10.0;
        }
        let every = (values.len() / (2 * count)).max(1);
        let inside = values.into_iter().filter(|value| (low..=high).contains(value));
        return inside.step_by(every).collect();
    }
    let raw = (high - low) / count as f64;
    let power = libm::pow(10.0, libm::floor(libm::log10(raw)));
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|step| step * power >= raw);
    let step = step.unwrap_or(10.0) * power;
    let first = libm::ceil(low / step - 1e-9);
    let values = (0..=2 * count).map(|at| (first + at as f64) * step);
    values.take_while(|value| *value <= high + step * 1e-9).collect()
}

/// A number in few characters: `1.5M`, `0.002`, `3.14`.
pub fn short(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        return "0".to_owned();
    }
    let units = [(1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")];
    let (scaled, unit) = match units.iter().find(|(unit, _)| size >= unit * 0.99995) {
        Some((scale, unit)) => (value / scale, *unit),
        None => (value, ""),
    };
    if size < 1e-3 {
        return format!("{value:.1e}");
    }
    let decimals = match scaled.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        size if size >= 0.1 => 3,
        _ => 4,
    };
    let text = format!("{scaled:.decimals$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (2.7251, "2.73"),
            (1500.0, "1.5k"),
            (2e6, "2M"),
            (0.002, "0.002"),
            (999_999.0, "1M"),
            (12.0, "12"),
            (-0.25, "-0.25"),
            (1.5e-5, "1.5e-5"),
            (650.0, "650"),
        ];
        for (value, expected) in cases {
            assert_eq!(short(value), expected);
        }
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks(0.0, 10.0, false, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(2.0, 40.0, true, 5), [2.0, 5.0, 10.0, 20.0]);
        assert_eq!(ticks(0.13, 0.19, false, 3).len(), 3);
    }

    #[test]
    fn a_chart_escapes_names_and_draws_what_is_a_number() {
        let mut chart = Chart::new("a < b", "tokens", "nats");
        assert_eq!(chart.figure(), "");
        let points = vec![(-1.0, f64::NAN), (0.0, 1.0), (1.0, f64::NAN), (2.0, -3.0), (3.0, 2.0)];
        let line = |name: &str, stroke| Line {
            name: name.into(),
            points: points.clone(),
            stroke,
            color: 9,
        };
        chart.lines = vec![line("<i>", Stroke::Solid), line("u", Stroke::Dashed)];
        let linear = chart.figure();
        assert!(linear.contains("&lt;i&gt;") && !linear.contains("<i>"), "{linear}");
        assert!(!linear.contains("NaN") && linear.contains("class=\"line dashed s1\""));
        chart.logarithmic = true;
        let log = chart.figure();
        assert!(log.contains("data-scale=\"log\"") && !log.contains("NaN"), "{log}");
    }

    #[test]
    fn a_flat_line_and_a_single_point_have_a_place() {
        let mut chart = Chart::new("flat", "tokens", "");
        let line = |points| Line { name: "a".into(), points, stroke: Stroke::Solid, color: 0 };
        for points in [vec![(5.0, 0.0)], vec![(0.0, 2.0), (9.0, 2.0)]] {
            chart.lines = vec![line(points)];
            let html = chart.figure();
            assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
        }
    }
}
