//! Plots as inline SVG. They take their colours from the page's style sheet, by class, so that light, dark and paper each
//! have their own. Every plot has a title and a description; the figures behind it stand in a table of the page.

use super::format::{escape, figure};
use super::result::{Quantiles, Run, Step};

const WIDTH: f64 = 440.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 414.0;
/// Share up to which latencies are drawn, in powers of ten of what is left: 99.9 %.
const NINES: f64 = 3.0;

/// One line of a plot; `style` is one of six, each with a colour and a dash pattern of its own.
#[derive(Debug)]
pub(crate) struct Curve<'a> {
    pub(crate) style: usize,
    pub(crate) latency: &'a Quantiles,
}

#[derive(Debug)]
pub(crate) struct Caption<'a> {
    /// Unique in the page.
    pub(crate) id: &'a str,
    pub(crate) title: &'a str,
    pub(crate) about: &'a str,
}

/// Latency over the share of packets that were at least so fast; the axis widens towards the slowest.
pub(crate) fn percentiles(caption: &Caption<'_>, curves: &[Curve<'_>]) -> Option<String> {
    let lines: Vec<(usize, Vec<(f64, f64)>)> = curves
        .iter()
        .map(|curve| (curve.style, points(curve.latency)))
        .filter(|(_, p)| p.len() > 1)
        .collect();
    let drawn = || lines.iter().flat_map(|(_, points)| points.iter().map(|(_, us)| *us));
    let (low, high) = (drawn().fold(f64::INFINITY, f64::min), drawn().fold(0.0, f64::max));
    if lines.is_empty() {
        return None;
    }
    let (top, bottom) = (16.0, 244.0);
    let y = Scale::logarithmic(low, high, bottom, top);
    let x = |nines: f64| LEFT + nines / NINES * (RIGHT - LEFT);
    let mut body = horizontal_grid(&y, |us| format!("{} ms", short(us / 1e3)));
    for (nines, name) in
        [(0.0, "0 %"), (-(0.5f64.log10()), "50 %"), (1.0, "90 %"), (2.0, "99 %"), (3.0, "99.9 %")]
    {
        body += &vertical_tick(x(nines), top, bottom, name);
    }
    body += &axis_name((LEFT + RIGHT) / 2.0, bottom + 40.0, "share of packets that were at least so fast");
    for (style, points) in &lines {
        let path: Vec<(f64, f64)> = points.iter().map(|(nines, us)| (x(*nines), y.at(*us))).collect();
        body += &line(*style, &path);
    }
    Some(svg(caption, 290.0, &body))
}

/// Latency and the server's CPU over the load; the knee marked, what was not measured hatched.
pub(crate) fn ramp(caption: &Caption<'_>, run: &Run) -> Option<String> {
    let measured: Vec<&Step> = run.measured().collect();
    if measured.len() < 2 {
        return None;
    }
    let most = run.steps.iter().map(|step| step.participants).max()? as f64;
    let x = Scale::linear(most, LEFT, RIGHT);
    let upper = (30.0, 148.0);
    let lower = (184.0, 264.0);

    let p99 = |step: &Step| step.latency.p99_us.max(1) as f64;
    let all = || measured.iter().map(|step| p99(step));
    let y =
        Scale::logarithmic(all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max), upper.1, upper.0);
    let mut body = horizontal_grid(&y, |us| format!("{} ms", short(us / 1e3)));
    body += &panel_name(upper.0 - 12.0, "latency, p99");

    let cpu: Vec<(&Step, f64)> =
        measured.iter().filter_map(|step| Some((*step, step.server_cpu_cores?))).collect();
    let cores = cpu.iter().map(|(_, cores)| *cores).fold(run.server_cores.len() as f64, f64::max);
    let y_cpu = Scale::linear(if cores > 0.0 { cores } else { 1.0 }, lower.1, lower.0);
    body += &horizontal_grid(&y_cpu, |cores| if cores == 0.0 { "0".to_owned() } else { short(cores) });
    body += &panel_name(
        lower.0 - 12.0,
        if cpu.is_empty() { "server CPU: not known" } else { "server CPU, cores" },
    );

    for tick in x.ticks() {
        body += &vertical_tick(x.at(tick), lower.1, lower.1, &figure_of_people(tick));
    }
    body += &axis_name((LEFT + RIGHT) / 2.0, lower.1 + 40.0, "participants");

    if let Some(void) = unmeasured_from(run) {
        let from = x.at(void);
        body += &format!(
            r#"<rect class="void" x="{from:.1}" y="{:.1}" width="{:.1}" height="{:.1}"/>"#,
            upper.0,
            RIGHT - from,
            lower.1 - upper.0
        );
        body += &label((from + RIGHT) / 2.0, 166.0, "middle", "not measured");
    }
    if let Some(knee) = run.carried() {
        let at = x.at(knee.participants as f64);
        let (anchor, beside) =
            if at > (LEFT + RIGHT) / 2.0 { ("end", at - 6.0) } else { ("start", at + 6.0) };
        body += &format!(
            r#"<line class="knee" x1="{at:.1}" y1="{:.1}" x2="{at:.1}" y2="{:.1}"/>"#,
            upper.0 - 14.0,
            lower.1
        );
        let word = if run.limit_is_beyond() { "carried" } else { "knee" };
        body += &format!(
            r#"<text class="strong" x="{beside:.1}" y="{:.1}" text-anchor="{anchor}">{word}: {}</text>"#,
            upper.0 - 4.0,
            figure_of_people(knee.participants as f64)
        );
    }

    let carried = |step: &Step| run.carried().is_some_and(|knee| step.participants <= knee.participants);
    let latency: Vec<(f64, f64)> =
        measured.iter().map(|step| (x.at(step.participants as f64), y.at(p99(step)))).collect();
    body += &line(0, &latency);
    for (step, at) in measured.iter().zip(&latency) {
        body += &mark(0, *at, carried(step));
    }
    let busy: Vec<(f64, f64)> =
        cpu.iter().map(|(step, cores)| (x.at(step.participants as f64), y_cpu.at(*cores))).collect();
    body += &line(1, &busy);
    for ((step, _), at) in cpu.iter().zip(&busy) {
        body += &mark(1, *at, carried(step));
    }
    Some(svg(caption, 310.0, &body))
}

/// A sample of a line for the legend.
pub(crate) fn sample(style: usize) -> String {
    format!(
        r#"<svg class="sample" viewBox="0 0 28 10" width="28" height="10" aria-hidden="true"><path class="curve s{style}" d="M1 5H27"/></svg>"#
    )
}

/// Where the first step that the generator could not drive begins: half way from the last one that it could.
fn unmeasured_from(run: &Run) -> Option<f64> {
    let last = run.measured().map(|step| step.participants).max()?;
    let first =
        run.steps.iter().filter(|s| !s.is_measured()).map(|s| s.participants).filter(|n| *n > last).min()?;
    Some((last + first) as f64 / 2.0)
}

/// Pairs of how far along the axis and microseconds. Without a curve the named quantiles are joined.
fn points(latency: &Quantiles) -> Vec<(f64, f64)> {
    if latency.count == 0 {
        return Vec::new();
    }
    let named =
        [(latency.p50_us, 0.5), (latency.p90_us, 0.9), (latency.p99_us, 0.99), (latency.p999_us, 0.999)];
    let curve: &[(u64, f64)] = if latency.curve.len() > 1 { &latency.curve } else { &named };
    let mut points: Vec<(f64, f64)> = Vec::with_capacity(curve.len());
    for (us, share) in curve {
        let at = (nines(*share), (*us).max(1) as f64);
        if let (Some(before), true) = (points.last().copied(), at.0 > NINES) {
            // Ends where it leaves the plot.
            let along = (NINES - before.0) / (at.0.min(2.0 * NINES) - before.0);
            if before.0 < NINES {
                points.push((NINES, before.1 + along * (at.1 - before.1)));
            }
            break;
        }
        if (0.0..=NINES).contains(&at.0) {
            points.push(at);
        }
    }
    points
}

fn nines(share: f64) -> f64 {
    -(1.0 - share.clamp(0.0, 1.0)).log10()
}

/// From values to places.
#[derive(Debug)]
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    logarithmic: bool,
}

impl Scale {
    /// Zero to `most` or a little more.
    fn linear(most: f64, from: f64, to: f64) -> Scale {
        let step = linear_step(most);
        Scale { low: 0.0, high: (most / step - 1e-9).ceil() * step, from, to, logarithmic: false }
    }

    /// Whole steps of 1, 2, 5, 10 around the values.
    fn logarithmic(low: f64, high: f64, from: f64, to: f64) -> Scale {
        let low = one_two_five().rfind(|step| *step <= low).unwrap_or(1.0);
        let high = one_two_five().find(|step| *step >= high && *step >= 9.9 * low).unwrap_or(1e12);
        Scale { low, high, from, to, logarithmic: true }
    }

    fn at(&self, value: f64) -> f64 {
        let along = match self.logarithmic {
            true => (value.max(self.low) / self.low).log10() / (self.high / self.low).log10(),
            false => (value - self.low) / (self.high - self.low),
        };
        self.from + along * (self.to - self.from)
    }

    fn ticks(&self) -> Vec<f64> {
        if !self.logarithmic {
            let step = linear_step(self.high);
            let count = (self.high / step + 1e-9) as usize;
            return (0..=count).map(|i| i as f64 * step).collect();
        }
        let within = |step: &f64| (self.low..=self.high).contains(step);
        let all: Vec<f64> = one_two_five().filter(within).collect();
        match all.len() {
            0..=8 => all,
            _ => all.into_iter().filter(|step| step.log10().fract() == 0.0).collect(),
        }
    }
}

/// 1, 2, 5, 10, … up to what a clock of microseconds will ever show.
fn one_two_five() -> impl DoubleEndedIterator<Item = f64> {
    (0..12).flat_map(|power| [1.0, 2.0, 5.0].map(|n| n * 10f64.powi(power)))
}

/// Three to seven steps of 1, 2 or 5 times a power of ten.
fn linear_step(most: f64) -> f64 {
    let power = 10f64.powf((most / 3.0).log10().floor());
    let step = [5.0, 2.0, 1.0].map(|n| n * power).into_iter().find(|step| most / step >= 3.0);
    step.unwrap_or(power)
}

fn svg(caption: &Caption<'_>, height: f64, body: &str) -> String {
    let Caption { id, title, about } = caption;
    format!(
        r#"<svg class="plot" role="img" aria-labelledby="{id}-title {id}-about" viewBox="0 0 {WIDTH} {height}"><title id="{id}-title">{}</title><desc id="{id}-about">{}</desc>{body}</svg>"#,
        escape(title),
        escape(about)
    )
}

fn horizontal_grid(scale: &Scale, name: impl Fn(f64) -> String) -> String {
    let tick = |value: f64| {
        let y = scale.at(value);
        format!(
            r#"<line class="grid" x1="{LEFT}" y1="{y:.1}" x2="{RIGHT}" y2="{y:.1}"/>{}"#,
            label(LEFT - 7.0, y + 4.0, "end", &name(value))
        )
    };
    scale.ticks().into_iter().map(tick).collect()
}

fn vertical_tick(x: f64, top: f64, bottom: f64, name: &str) -> String {
    format!(
        r#"<line class="grid" x1="{x:.1}" y1="{top:.1}" x2="{x:.1}" y2="{:.1}"/>{}"#,
        bottom + 5.0,
        label(x, bottom + 19.0, "middle", name)
    )
}

fn label(x: f64, y: f64, anchor: &str, text: &str) -> String {
    format!(r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{}</text>"#, escape(text))
}

fn axis_name(x: f64, y: f64, text: &str) -> String {
    format!(r#"<text class="axis" x="{x:.1}" y="{y:.1}" text-anchor="middle">{text}</text>"#)
}

fn panel_name(y: f64, text: &str) -> String {
    format!(r#"<text class="axis" x="{LEFT}" y="{y:.1}">{text}</text>"#)
}

fn line(style: usize, points: &[(f64, f64)]) -> String {
    let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
    match path.is_empty() {
        true => String::new(),
        false => format!(r#"<path class="curve s{style}" d="M{}"/>"#, path.join("L")),
    }
}

/// A disc where the load was carried, a cross where it was not: no meaning is left to colour.
fn mark(style: usize, (x, y): (f64, f64), carried: bool) -> String {
    if carried {
        return format!(r#"<circle class="mark f{style}" cx="{x:.1}" cy="{y:.1}" r="3.5"/>"#);
    }
    let (l, r, t, b) = (x - 4.0, x + 4.0, y - 4.0, y + 4.0);
    format!(r#"<path class="cross s{style}" d="M{l:.1} {t:.1}L{r:.1} {b:.1}M{l:.1} {b:.1}L{r:.1} {t:.1}"/>"#)
}

/// A tick's name: no more digits than it has.
fn short(value: f64) -> String {
    if value >= 1000.0 { figure(value) } else { format!("{}", (value * 1e6).round() / 1e6) }
}

fn figure_of_people(value: f64) -> String {
    if value >= 1000.0 { figure(value) } else { format!("{value:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(Scale::linear(1.0, 0.0, 1.0).ticks(), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(Scale::linear(201.0, 0.0, 1.0).ticks(), [0.0, 50.0, 100.0, 150.0, 200.0, 250.0]);
        assert_eq!(
            Scale::logarithmic(84.0, 1_240.0, 0.0, 1.0).ticks(),
            [50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0]
        );
        assert_eq!(Scale::logarithmic(20.0, 900_000.0, 0.0, 1.0).ticks(), [100.0, 1e3, 1e4, 1e5, 1e6]);
        for most in [0.01, 0.3, 1.0, 2.0, 3.7, 25.0, 999.0, 12_345.0] {
            let ticks = Scale::linear(most, 0.0, 1.0).ticks();
            assert!((4..=9).contains(&ticks.len()), "{most}: {ticks:?}");
            assert!(*ticks.last().expect("there are ticks") >= most, "{most}: {ticks:?}");
        }
    }

    #[test]
    fn values_lie_where_the_scale_says() {
        let scale = Scale::logarithmic(100.0, 10_000.0, 200.0, 0.0);
        assert_eq!(scale.at(100.0), 200.0);
        assert!((scale.at(1_000.0) - 100.0).abs() < 1e-9);
        assert!(scale.at(10_000.0).abs() < 1e-9);
    }

    #[test]
    fn curve_ends_at_the_edge_of_the_plot() {
        let latency = Quantiles {
            count: 9,
            curve: vec![(10, 0.0), (20, 0.5), (40, 0.99), (900, 1.0)],
            ..Default::default()
        };
        let points = points(&latency);
        assert_eq!(points.len(), 4);
        assert_eq!(points[3].0, NINES);
        assert!((40.0..900.0).contains(&points[3].1), "{points:?}");
    }

    #[test]
    fn without_samples_there_is_no_plot() {
        let caption = Caption { id: "x", title: "", about: "" };
        assert!(percentiles(&caption, &[Curve { style: 0, latency: &Quantiles::default() }]).is_none());
    }
}
