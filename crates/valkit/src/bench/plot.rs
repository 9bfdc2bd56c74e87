//! Curves as an SVG picture.

use std::path::Path;

use plotters::prelude::*;

use crate::failure::Failure;

const SIZE: (u32, u32) = (840, 440);
/// Distinct also for those who see no red or no green.
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(120, 120, 120)];

/// What is to be drawn; both axes are logarithmic.
pub(crate) struct Plot<'a> {
    pub(crate) title: &'a str,
    pub(crate) x: &'a str,
    pub(crate) y: &'a str,
    /// How a place on the x axis is written.
    pub(crate) label: &'a dyn Fn(f64) -> String,
    pub(crate) curves: Vec<(&'a str, Vec<(f64, f64)>)>,
}

// === impl Plot ===

impl Plot<'_> {
    pub(crate) fn save(&self, file: &Path) -> Result<(), Failure> {
        self.draw(file).map_err(|error| Failure::Failed(format!("drawing {}: {error}", file.display())))
    }

    fn draw(&self, file: &Path) -> Result<(), Box<dyn std::error::Error>> {
        let places: Vec<(f64, f64)> = self.curves.iter().flat_map(|(_, points)| points).copied().collect();
        let Some((x, y)) = bounds(&places) else { return Err("there is nothing to draw".into()) };
        let root = SVGBackend::new(file, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(self.title, ("sans-serif", 20))
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(84)
            .build_cartesian_2d((x.0..x.1).log_scale(), (y.0..y.1).log_scale())?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(225, 225, 225))
            .x_desc(self.x)
            .y_desc(self.y)
            .x_label_formatter(&|value| (self.label)(*value))
            .y_label_formatter(&|value| short(*value))
            .label_style(("sans-serif", 14))
            .draw()?;
        for ((name, points), colour) in self.curves.iter().zip(COLOURS) {
            chart
                .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?
                .label(*name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
            chart.draw_series(points.iter().map(|point| Circle::new(*point, 4, colour.filled())))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.85))
            .border_style(RGBColor(200, 200, 200))
            .label_font(("sans-serif", 14))
            .draw()?;
        root.present()?;
        Ok(())
    }
}

/// The smallest and largest of both coordinates, with a margin; `None` without points.
fn bounds(places: &[(f64, f64)]) -> Option<((f64, f64), (f64, f64))> {
    let span = |values: &mut dyn Iterator<Item = f64>, margin: f64| {
        let (low, high) =
            values.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        (low.is_finite() && high > 0.0).then_some((low / margin, high * margin))
    };
    let x = span(&mut places.iter().map(|place| place.0), 1.15)?;
    let y = span(&mut places.iter().map(|place| place.1), 1.6)?;
    Some((x, y))
}

/// 12 k instead of 12000.
pub(crate) fn short(value: f64) -> String {
    let (value, unit) = match value {
        value if value >= 1e6 => (value / 1e6, " M"),
        value if value >= 1e3 => (value / 1e3, " k"),
        value => (value, ""),
    };
    let digits = usize::from(value < 10.0 && value.fract() != 0.0);
    format!("{value:.digits$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let short = [0.5, 8.0, 950.0, 1_500.0, 12_000.0, 10e6].map(short);
        assert_eq!(short, ["0.5", "8", "950", "1.5 k", "12 k", "10 M"]);
    }

    #[test]
    fn a_picture_holds_its_curves_by_name() {
        let directory = std::env::temp_dir().join(format!("valkit-plot-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("the directory for temporary files can be written to");
        let file = directory.join("plot.svg");
        let plot = Plot {
            title: "rates",
            x: "consumers",
            y: "messages/s",
            label: &|x| format!("{x}"),
            curves: vec![("ours", vec![(1.0, 10.0), (8.0, 80.0)]), ("theirs", vec![(1.0, 5.0), (8.0, 6.0)])],
        };
        assert!(plot.save(&file).is_ok());
        let text = std::fs::read_to_string(&file).expect("it was just written");
        let _ = std::fs::remove_dir_all(&directory);
        for word in ["<svg", "rates", "consumers", "ours", "theirs", "polyline"] {
            assert!(text.contains(word), "no {word}");
        }
    }
}
