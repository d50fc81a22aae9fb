//! Charts as SVG: bars beside each other, and lines over a logarithmic axis. No script, no font, readable on light and
//! on dark.

use std::fmt::Write;

use super::table::number;
use crate::statistics::Spread;

/// Width of every chart, in user units.
const WIDTH: f64 = 720.0;

/// Colours by the class of what is drawn.
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-weight:600;font-size:15px}\
.faint{fill:#57606a}.axis{stroke:#d0d7de}.bar,.dot{fill:#8c959f}.ours{fill:#bf5700}.range{stroke:#24292f;stroke-width:1.5}\
.line{fill:none;stroke:#8c959f;stroke-width:2}.line.ours{fill:none;stroke:#bf5700}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.faint{fill:#8d96a0}.axis{stroke:#3d444d}.range{stroke:#e6edf3}\
.ours{fill:#f0883e}.line.ours{stroke:#f0883e}}";

/// One bar.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) value: Spread,
    /// Drawn in colour.
    pub(super) ours: bool,
}

/// Horizontal bars from zero, each with its range. Empty without bars.
pub(super) fn bars(title: &str, unit: &str, decimals: usize, bars: &[Bar]) -> String {
    const TOP: f64 = 56.0;
    const ROW: f64 = 30.0;
    const LEFT: f64 = 110.0;
    const RIGHT: f64 = 110.0;
    let height = TOP + ROW * bars.len() as f64 + 14.0;
    let most = bars.iter().map(|bar| bar.value.max).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let length = |value: f64| (value.max(0.0) / most) * (WIDTH - LEFT - RIGHT);
    let mut svg = open(title, unit, height);
    for (at, bar) in bars.iter().enumerate() {
        let (y, class) = (TOP + ROW * at as f64, if bar.ours { "bar ours" } else { "bar" });
        let middle = y + 11.0;
        let (from, to) = (LEFT + length(bar.value.min), LEFT + length(bar.value.max));
        let _ = writeln!(
            svg,
            r#"<text x="{:.0}" y="{:.1}" text-anchor="end">{}</text>"#,
            LEFT - 10.0,
            middle + 4.5,
            escape(&bar.name)
        );
        let _ = writeln!(
            svg,
            r#"<rect class="{class}" x="{LEFT:.0}" y="{y:.1}" width="{:.1}" height="22" rx="2"/>"#,
            length(bar.value.median).max(1.0)
        );
        if bar.value.rounds > 1 {
            let _ = writeln!(
                svg,
                r#"<path class="range" d="M{from:.1} {middle:.1}H{to:.1}M{from:.1} {:.1}V{:.1}M{to:.1} {:.1}V{:.1}"/>"#,
                middle - 4.0,
                middle + 4.0,
                middle - 4.0,
                middle + 4.0
            );
        }
        let _ = writeln!(
            svg,
            r#"<text x="{:.1}" y="{:.1}">{}</text>"#,
            to + 8.0,
            middle + 4.5,
            number(bar.value.median, decimals)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) name: String,
    /// Place on the axis and value, ascending.
    pub(super) points: Vec<(f64, f64)>,
    pub(super) ours: bool,
}

/// Lines over an axis on which each step doubles.
pub(super) fn lines(title: &str, unit: &str, lines: &[Line]) -> String {
    const TOP: f64 = 60.0;
    const BOTTOM: f64 = 300.0;
    const LEFT: f64 = 70.0;
    const RIGHT: f64 = 600.0;
    let all = || lines.iter().flat_map(|line| line.points.iter().copied());
    let (least, last) = all().fold((f64::MAX, 1.0f64), |(a, b), (x, _)| (a.min(x), b.max(x)));
    let highest = all().fold(0.0f64, |most, (_, y)| most.max(y)).max(f64::MIN_POSITIVE);
    let span = (last / least).log2().max(f64::MIN_POSITIVE);
    let x = |place: f64| LEFT + (place / least).log2() / span * (RIGHT - LEFT);
    let y = |value: f64| BOTTOM - value / highest * (BOTTOM - TOP);
    let mut svg = open(title, unit, BOTTOM + 40.0);
    let _ = writeln!(svg, r#"<path class="axis" d="M{LEFT} {BOTTOM}H{RIGHT}M{LEFT} {TOP}H{RIGHT}"/>"#);
    let _ = writeln!(
        svg,
        r#"<text class="faint" x="{:.0}" y="{:.1}" text-anchor="end">{}</text>"#,
        LEFT - 8.0,
        TOP + 4.5,
        number(highest, 0)
    );
    let mut marks: Vec<f64> = all().map(|(place, _)| place).collect();
    marks.sort_by(f64::total_cmp);
    marks.dedup();
    for mark in marks {
        let _ = writeln!(
            svg,
            r#"<text class="faint" x="{:.1}" y="{:.0}" text-anchor="middle">{mark}</text>"#,
            x(mark),
            BOTTOM + 20.0
        );
    }
    for (line, label) in lines.iter().zip(apart(lines, y)) {
        let class = if line.ours { "line ours" } else { "line" };
        let points: Vec<String> =
            line.points.iter().map(|(place, value)| format!("{:.1},{:.1}", x(*place), y(*value))).collect();
        let _ = writeln!(svg, r#"<polyline class="{class}" points="{}"/>"#, points.join(" "));
        let name = escape(&line.name);
        let _ = writeln!(svg, r#"<text x="{:.0}" y="{label:.1}">{name}</text>"#, RIGHT + 10.0);
    }
    svg.push_str("</svg>\n");
    svg
}

/// Where the names of the lines stand: at their ends, but not on each other.
fn apart(lines: &[Line], y: impl Fn(f64) -> f64) -> Vec<f64> {
    const STEP: f64 = 16.0;
    let ends: Vec<f64> =
        lines.iter().map(|line| line.points.last().map_or(0.0, |(_, value)| y(*value) + 4.5)).collect();
    let mut order: Vec<usize> = (0..ends.len()).collect();
    order.sort_by(|a, b| ends[*a].total_cmp(&ends[*b]));
    let (mut places, mut last) = (ends.clone(), f64::MIN);
    for at in order {
        places[at] = ends[at].max(last + STEP);
        last = places[at];
    }
    places
}

fn open(title: &str, unit: &str, height: f64) -> String {
    let (title, unit) = (escape(title), escape(unit));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\n<style>{STYLE}</style>\n<text class=\"title\" x=\"10\" y=\"22\">{title}</text>\n<text class=\"faint\" x=\"10\" y=\"42\">{unit}</text>\n"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(min: f64, median: f64, max: f64) -> Spread {
        Spread { min, median, max, rounds: 3 }
    }

    #[test]
    fn the_longest_bar_takes_the_room_and_the_others_their_part() {
        let drawn = bars(
            "CPU <1 KB>",
            "µs",
            1,
            &[
                Bar { name: "nginx".into(), value: spread(24.0, 25.0, 25.0), ours: false },
                Bar { name: "a & b".into(), value: spread(40.0, 50.0, 50.0), ours: true },
            ],
        );
        assert!(drawn.contains(r#"class="bar" x="110" y="56.0" width="250.0""#), "{drawn}");
        assert!(drawn.contains(r#"class="bar ours" x="110" y="86.0" width="500.0""#), "{drawn}");
        assert!(drawn.contains("CPU &lt;1 KB&gt;") && drawn.contains("a &amp; b"));
        assert!(drawn.starts_with("<svg") && drawn.ends_with("</svg>\n"));
    }

    #[test]
    fn steps_that_double_are_equally_wide() {
        let line =
            Line { name: "ours".into(), points: vec![(1.0, 0.0), (2.0, 50.0), (4.0, 100.0)], ours: true };
        let drawn = lines("sweep", "calls/s", &[line]);
        assert!(drawn.contains(r#"points="70.0,300.0 335.0,180.0 600.0,60.0""#), "{drawn}");
    }

    #[test]
    fn names_do_not_stand_on_each_other() {
        let line = |end| Line { name: "x".into(), points: vec![(1.0, end)], ours: false };
        let places = apart(&[line(10.0), line(11.0), line(90.0)], |value| 100.0 - value);
        let mut sorted = places.clone();
        sorted.sort_by(f64::total_cmp);
        assert!(sorted.windows(2).all(|pair| pair[1] - pair[0] >= 16.0), "{places:?}");
    }

    #[test]
    fn a_chart_of_nothing_is_still_a_picture() {
        for drawn in [bars("a", "b", 0, &[]), lines("a", "b", &[])] {
            assert!(
                drawn.ends_with("</svg>\n") && !drawn.contains("NaN") && !drawn.contains("inf"),
                "{drawn}"
            );
        }
    }
}
