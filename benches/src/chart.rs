//! A bar chart, as SVG that is readable on light and dark pages.

use std::fmt::Write as _;
use std::path::Path;

use crate::Failure;

/// Writes a chart with one bar for each name, the longest being the largest value.
pub(crate) fn write(path: &Path, title: &str, bars: &[(&str, f64)]) -> Result<(), Failure> {
    const ROW: usize = 30;
    const LEFT: usize = 300;
    const WIDTH: f64 = 380.0;
    let largest = bars.iter().map(|(_, value)| *value).fold(1.0, f64::max);
    let height = 40 + bars.len() * ROW;
    let mut svg = String::new();
    writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 780 {height}" font-family="sans-serif" font-size="13" fill="#777">"##
    )?;
    writeln!(svg, r#"<text x="10" y="22" font-weight="bold">{title}</text>"#)?;
    for (n, (name, value)) in bars.iter().enumerate() {
        let (y, width) = (40 + n * ROW, value / largest * WIDTH);
        let (text, end) = (y + 15, LEFT as f64 + width + 8.0);
        let name = name.replace('`', "");
        writeln!(svg, r#"<text x="{}" y="{text}" text-anchor="end">{name}</text>"#, LEFT - 8)?;
        writeln!(
            svg,
            r##"<rect x="{LEFT}" y="{y}" width="{width:.0}" height="20" fill="#4a8fd4"/>"##
        )?;
        writeln!(svg, r#"<text x="{end:.0}" y="{text}">{value:.0}</text>"#)?;
    }
    svg.push_str("</svg>\n");
    Ok(std::fs::write(path, svg)?)
}
