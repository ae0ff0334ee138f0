//! Plots as plain SVG, readable on light and on dark pages.

/// Width of a plot.
const WIDTH: f64 = 760.0;
/// Where the bars or curves begin and end.
const LEFT: f64 = 210.0;
const RIGHT: f64 = 680.0;
const ROW: f64 = 26.0;
const TOP: f64 = 54.0;
/// Colours that stand apart on both grounds.
const COLOURS: [&str; 9] = [
    "#4c8bf5", "#e8710a", "#12a37f", "#d93b7e", "#9a6bdb", "#b58900", "#2aa1b3", "#c4453a",
    "#7f8c8d",
];

/// A bar's parts, in the order of the plot's parts; one part for a plain bar.
pub struct Bar {
    /// What it is of.
    pub label: String,
    /// How long each part is.
    pub parts: Vec<f64>,
}

/// A curve.
pub struct Curve {
    /// What it is of.
    pub label: String,
    /// Its points.
    pub points: Vec<(f64, f64)>,
}

/// Lying bars, their parts one after the other.
pub fn bars(title: &str, unit: &str, parts: &[&str], bars: &[Bar]) -> String {
    let sum = |bar: &Bar| bar.parts.iter().sum::<f64>();
    let most = bars.iter().map(sum).fold(1e-9, f64::max);
    let legend = if parts.len() > 1 { 22.0 } else { 0.0 };
    let height = TOP + legend + bars.len() as f64 * ROW + 16.0;
    let mut svg = head(title, unit, height);
    if parts.len() > 1 {
        svg.push_str(&legend_of(parts.iter().copied()));
    }
    for (row, bar) in bars.iter().enumerate() {
        let y = TOP + legend + row as f64 * ROW;
        let mut x = LEFT;
        svg.push_str(&text(LEFT - 8.0, y + 13.0, "end", &bar.label));
        for (part, value) in bar.parts.iter().enumerate() {
            let width = value / most * (RIGHT - LEFT);
            let colour = COLOURS[part % COLOURS.len()];
            svg.push_str(&format!(
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"18\" fill=\"{colour}\"/>\n"
            ));
            x += width;
        }
        svg.push_str(&text(
            x + 6.0,
            y + 13.0,
            "start",
            &crate::value::shown(sum(bar)),
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

/// Curves over a common axis; both axes are logarithmic where `is_log` says so (x, y).
pub fn curves(title: &str, x: &str, y: &str, is_log: (bool, bool), curves: &[Curve]) -> String {
    const HEIGHT: f64 = 360.0;
    const BOTTOM: f64 = 310.0;
    const UP: f64 = 84.0;
    const START: f64 = 80.0;
    let all = || curves.iter().flat_map(|curve| curve.points.iter().copied());
    let across = Axis::of(all().map(|(x, _)| x), is_log.0, START, RIGHT + 40.0);
    let along = Axis::of(all().map(|(_, y)| y), is_log.1, BOTTOM, UP);
    let mut svg = head(title, "", HEIGHT);
    svg.push_str(&legend_of(curves.iter().map(|curve| curve.label.as_str())));
    for tick in along.ticks() {
        let at = along.place(tick);
        svg.push_str(&format!(
            "<line class=\"grid\" x1=\"{START}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\n",
            RIGHT + 40.0
        ));
        svg.push_str(&text(START - 6.0, at + 4.0, "end", &short(tick)));
    }
    for tick in across.ticks() {
        svg.push_str(&text(
            across.place(tick),
            BOTTOM + 18.0,
            "middle",
            &short(tick),
        ));
    }
    svg.push_str(&text((START + RIGHT) / 2.0, BOTTOM + 38.0, "middle", x));
    svg.push_str(&text(START - 6.0, UP - 10.0, "end", y));
    for (index, curve) in curves.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let places: Vec<_> = curve
            .points
            .iter()
            .map(|(x, y)| (across.place(*x), along.place(*y)))
            .collect();
        let line: Vec<_> = places
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        svg.push_str(&format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n",
            line.join(" ")
        ));
        for (x, y) in places {
            svg.push_str(&format!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>\n"
            ));
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// A way from values to places.
struct Axis {
    is_log: bool,
    from: f64,
    to: f64,
    places: (f64, f64),
}

impl Axis {
    fn of(values: impl Iterator<Item = f64>, is_log: bool, first: f64, last: f64) -> Self {
        // A logarithm has no zero: the first decade stands for it.
        let values: Vec<f64> = values
            .map(|value| if is_log { value.max(1.0) } else { value })
            .collect();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(0.0, f64::max);
        let (from, to) = if is_log {
            (least.log10().floor(), most.max(1.0).log10().ceil())
        } else {
            (0.0, most)
        };
        Self {
            is_log,
            from: if from.is_finite() { from } else { 0.0 },
            to: if to > from { to } else { from + 1.0 },
            places: (first, last),
        }
    }

    fn place(&self, value: f64) -> f64 {
        let value = if self.is_log {
            value.max(1.0).log10()
        } else {
            value
        };
        let part = (value - self.from) / (self.to - self.from);
        self.places.0 + part * (self.places.1 - self.places.0)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.is_log {
            let decades = self.from as i32..=self.to as i32;
            return decades.map(|power| 10f64.powi(power)).collect();
        }
        (0..=4)
            .map(|part| self.to * f64::from(part) / 4.0)
            .collect()
    }
}

fn head(title: &str, unit: &str, height: f64) -> String {
    let subtitle = text(12.0, 42.0, "start", unit);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n\
         <title>{title}</title>\n\
         <style>\n\
         text {{ font: 12px system-ui, sans-serif; fill: #24292f; }}\n\
         text.title {{ font-size: 15px; font-weight: 600; }}\n\
         .grid {{ stroke: #8886; stroke-width: 1; }}\n\
         @media (prefers-color-scheme: dark) {{ text {{ fill: #d7dde3; }} }}\n\
         </style>\n\
         <text class=\"title\" x=\"12\" y=\"24\">{title}</text>\n{subtitle}"
    )
}

fn legend_of<'a>(labels: impl Iterator<Item = &'a str>) -> String {
    let mut svg = String::new();
    let mut x = 12.0;
    for (index, label) in labels.enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        svg.push_str(&format!(
            "<rect x=\"{x:.1}\" y=\"48\" width=\"10\" height=\"10\" fill=\"{colour}\"/>\n"
        ));
        svg.push_str(&text(x + 14.0, 57.0, "start", label));
        x += 26.0 + label.len() as f64 * 6.6;
    }
    svg
}

fn text(x: f64, y: f64, anchor: &str, words: &str) -> String {
    if words.is_empty() {
        return String::new();
    }
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>\n")
}

fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", value / 1e6),
        value if value >= 1e4 => format!("{:.0}k", value / 1e3),
        value => crate::value::shown(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_fills_the_plot_and_the_others_are_parts_of_it() {
        let bar = |label: &str, parts: &[f64]| Bar {
            label: label.to_owned(),
            parts: parts.to_vec(),
        };
        let svg = bars(
            "t",
            "u",
            &["a", "b"],
            &[bar("x", &[1.0, 3.0]), bar("y", &[2.0, 0.0])],
        );
        assert!(
            svg.contains("width=\"352.5\"") && svg.contains("width=\"235.0\""),
            "{svg}"
        );
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn a_logarithmic_axis_has_a_place_for_zero() {
        let axis = Axis::of([0.0, 1e6].into_iter(), true, 0.0, 60.0);
        assert_eq!(
            [0.0, 1e3, 1e6].map(|value| axis.place(value)),
            [0.0, 30.0, 60.0]
        );
    }
}
