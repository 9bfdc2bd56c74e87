//! Curves as an SVG picture.

use std::path::Path;

use plotters::prelude::*;

use crate::failure::Failure;

const SIZE: (u32, u32) = (840, 440);
/// Distinct also for those who see no red or no green.
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(120, 120, 120)];

/// Room for the names of the curves below the lowest point, as a factor.
const LEGEND: f64 = 8.0;

/// What is to be drawn: places in a row, and a logarithmic scale for what was measured there.
pub(crate) struct Plot<'a> {
    pub(crate) x: &'a str,
    pub(crate) y: &'a str,
    /// What stands below each place.
    pub(crate) places: Vec<String>,
    /// A name, and a figure for each place.
    pub(crate) curves: Vec<(&'a str, Vec<f64>)>,
}

// === impl Plot ===

impl Plot<'_> {
    pub(crate) fn save(&self, file: &Path) -> Result<(), Failure> {
        self.draw(file).map_err(|error| Failure::Failed(format!("drawing {}: {error}", file.display())))
    }

    fn draw(&self, file: &Path) -> Result<(), Box<dyn std::error::Error>> {
        let Some((low, high)) = bounds(&self.curves) else { return Err("there is nothing to draw".into()) };
        let last = i32::try_from(self.places.len())? - 1;
        let root = SVGBackend::new(file, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .margin(20)
            .x_label_area_size(44)
            .y_label_area_size(84)
            .build_cartesian_2d(0..last, (low..high).log_scale())?;
        let place = |at: &i32| usize::try_from(*at).ok().and_then(|at| self.places.get(at)).cloned();
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(225, 225, 225))
            .x_desc(self.x)
            .y_desc(self.y)
            .x_labels(self.places.len())
            .x_label_formatter(&|at| place(at).unwrap_or_default())
            .y_label_formatter(&|value| short(*value))
            .label_style(("sans-serif", 14))
            .draw()?;
        for ((name, figures), colour) in self.curves.iter().zip(COLOURS) {
            let points: Vec<(i32, f64)> = (0..).zip(figures.iter().copied()).collect();
            chart
                .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?
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

/// The smallest and the largest figure, with room around; `None` without figures.
fn bounds(curves: &[(&str, Vec<f64>)]) -> Option<(f64, f64)> {
    let figures = curves.iter().flat_map(|(_, figures)| figures).filter(|figure| figure.is_finite());
    let (low, high) =
        figures.fold((f64::INFINITY, 0.0_f64), |(low, high), figure| (low.min(*figure), high.max(*figure)));
    (low.is_finite() && low > 0.0).then_some((low / LEGEND, high * 1.6))
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
            x: "consumers",
            y: "messages/s",
            places: vec!["1".to_owned(), "8".to_owned(), "sixty-four".to_owned()],
            curves: vec![("ours", vec![10.0, 80.0, 200.0]), ("theirs", vec![5.0, 6.0, 6.5])],
        };
        assert!(plot.save(&file).is_ok());
        let text = std::fs::read_to_string(&file).expect("it was just written");
        let _ = std::fs::remove_dir_all(&directory);
        for word in ["<svg", "consumers", "messages/s", "sixty-four", "ours", "theirs", "polyline"] {
            assert!(text.contains(word), "no {word}");
        }
    }
}
