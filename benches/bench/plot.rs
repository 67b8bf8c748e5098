//! A bar chart of ratios as SVG, on a logarithmic axis around 1.

use std::fmt::Write;

/// One bar.
pub struct Bar {
    /// What was measured.
    pub label: String,
    /// Above 1 is better.
    pub ratio: f64,
}

const LEFT: f64 = 330.0;
const WIDTH: f64 = 460.0;
const STEP: f64 = 17.0;
const TOP: f64 = 52.0;
/// The axis goes from a quarter to 64 times; longer bars are cut there, their number is printed all the same.
const LOW: f64 = -2.0;
const HIGH: f64 = 6.0;

fn x(ratio: f64) -> f64 {
    LEFT + (ratio.log2().clamp(LOW, HIGH) - LOW) / (HIGH - LOW) * WIDTH
}

/// Draws the chart.
pub fn ratios(title: &str, bars: &[Bar]) -> String {
    let height = TOP + STEP * bars.len() as f64 + 16.0;
    let width = LEFT + WIDTH + 60.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"14\">{}</text>\n",
        escape(title)
    );
    for power in LOW as i32..=HIGH as i32 {
        let ratio = 2f64.powi(power);
        let at = x(ratio);
        let colour = if power == 0 { "#333" } else { "#ddd" };
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">{ratio}</text>",
            height - 12.0,
            TOP - 6.0
        );
    }
    for (number, bar) in bars.iter().enumerate() {
        let y = TOP + STEP * number as f64 + 4.0;
        let (one, end) = (x(1.0), x(bar.ratio));
        let colour = if bar.ratio >= 1.0 {
            "#2a7f62"
        } else {
            "#c0492f"
        };
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"11\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{:.2}</text>",
            LEFT - 8.0,
            y + 10.0,
            escape(&bar.label),
            one.min(end),
            (end - one).abs(),
            one.max(end) + 4.0,
            y + 10.0,
            bar.ratio
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
