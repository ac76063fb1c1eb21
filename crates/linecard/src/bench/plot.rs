//! The figures as a picture: a bar a case, with the spread of its rounds.
//!
//! The axis is by the bars, which are medians: a round that something else has disturbed would make all of
//! them short. A line that goes on beyond the axis ends in an arrow, with its end as a figure.
//!
//! SVG only: it needs no fonts here, is sharp at any size, and a bitmap would need a rasteriser.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::measure::Figures;

const WIDTH: i32 = 900;
const TOP: i32 = 84;
const ROW: i32 = 34;
const BAR: i32 = 20;
const BOTTOM: i32 = 66;
const LEFT: i32 = 210;
const RIGHT: i32 = 190;
const FONT: &str = "Helvetica, Arial, sans-serif";
const INK: RGBColor = RGBColor(38, 43, 51);
const FAINT: RGBColor = RGBColor(112, 120, 132);
const GRID: RGBColor = RGBColor(228, 231, 236);
const SMALL: RGBColor = RGBColor(46, 110, 178);
const IMIX: RGBColor = RGBColor(86, 156, 124);
const WARM: RGBColor = RGBColor(214, 138, 60);

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Takes only what can be drawn.
pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("svg")) {
        true => Ok(path),
        false => Err("pictures are SVG: the name must end in .svg".to_owned()),
    }
}

/// Draws `figures`, at least one, to the file.
///
/// # Errors
/// When it cannot be written.
pub(super) fn draw(path: &Path, figures: &[Figures]) -> anyhow::Result<()> {
    let what = || format!("cannot write {}", path.display());
    // The backend drops the error when it writes in its own end.
    std::fs::write(path, picture(figures)?).with_context(what)
}

fn picture(figures: &[Figures]) -> anyhow::Result<String> {
    let mut text = String::new();
    let height = TOP + ROW * figures.len() as i32 + BOTTOM;
    {
        let area =
            SVGBackend::with_string(&mut text, (WIDTH as u32, height as u32)).into_drawing_area();
        draw_on(&area, figures, height).map_err(|error| anyhow!("draw: {error}"))?;
        area.present().map_err(|error| anyhow!("draw: {error}"))?;
    }
    Ok(text)
}

type DrawError = DrawingAreaErrorKind<std::io::Error>;
type Drawn = Result<(), DrawError>;

fn draw_on(area: &Area<'_>, figures: &[Figures], height: i32) -> Drawn {
    area.fill(&WHITE)?;
    let Axis { step, scale } = Axis::of(figures.iter().map(|of| of.cycles_per_packet));
    write(area, "TSC cycles for each packet (fewer are better)", (24, 26), 24, &INK, HPos::Left)?;
    write(area, &subtitle(&figures[0]), (24, 52), 15, &FAINT, HPos::Left)?;
    let foot = TOP + ROW * figures.len() as i32;
    let mut cycles = 0.0;
    while cycles <= scale.cycles + step / 2.0 {
        let x = scale.x(cycles);
        area.draw(&PathElement::new([(x, TOP), (x, foot)], GRID))?;
        write(area, &format!("{cycles}"), (x, foot + 13), 15, &FAINT, HPos::Center)?;
        cycles += step;
    }
    for (row, of) in (0..).zip(figures) {
        bar(area, &scale, TOP + ROW * row + ROW / 2, of)?;
    }
    legend(area, figures, height - 20)
}

fn bar(area: &Area<'_>, scale: &Scale, y: i32, of: &Figures) -> Drawn {
    let colour = colour(of);
    let corners = [(LEFT, y - BAR / 2), (scale.x(of.cycles_per_packet), y + BAR / 2)];
    area.draw(&Rectangle::new(corners, colour.filled()))?;
    let end = spread(area, scale, y, of)?;
    write(area, of.case, (LEFT - 10, y), 16, &INK, HPos::Right)?;
    let scaling = match of.speedup_over_one_worker {
        Some(speedup) => format!(", ×{speedup:.2}"),
        None => String::new(),
    };
    let figure =
        format!("{:.0}  ({:.1} Mpps/core{scaling})", of.cycles_per_packet, of.mpps_per_core);
    write(area, &figure, (end + 8, y), 16, &INK, HPos::Left)
}

/// The line from the least to the most of the rounds; returns where it ends.
fn spread(area: &Area<'_>, scale: &Scale, y: i32, of: &Figures) -> Result<i32, DrawError> {
    let most = of.cycles_per_packet_max;
    let cut = most > scale.cycles;
    let (low, end) = (scale.x(of.cycles_per_packet_min), scale.x(most.min(scale.cycles)));
    let ink = INK.stroke_width(1);
    area.draw(&PathElement::new([(low, y), (end, y)], ink))?;
    area.draw(&PathElement::new([(low, y - 4), (low, y + 4)], ink))?;
    if cut {
        area.draw(&PathElement::new([(end - 5, y - 4), (end, y), (end - 5, y + 4)], ink))?;
        write(area, &format!("most {most:.0}"), (end - 8, y - 7), 12, &INK, HPos::Right)?;
    } else {
        area.draw(&PathElement::new([(end, y - 4), (end, y + 4)], ink))?;
    }
    Ok(end)
}

fn subtitle(of: &Figures) -> String {
    let machine = &of.machine;
    format!(
        "Linecard {}, whole packet path in memory, {}, TSC at {:.3} GHz: median of {} rounds; lines \
         from least to most",
        machine.version,
        machine.cpu_model,
        machine.tsc_hz as f64 / 1e9,
        of.rounds
    )
}

fn legend(area: &Area<'_>, figures: &[Figures], y: i32) -> Drawn {
    let kinds = [
        (SMALL, "64-byte packets in memory (IPv6: 66)"),
        (IMIX, "IMIX in memory"),
        (WARM, "64-byte packets in the cache"),
    ];
    let mut x = LEFT;
    for (kind, text) in kinds {
        if figures.iter().any(|of| colour(of) == kind) {
            area.draw(&Rectangle::new([(x, y - 5), (x + 10, y + 5)], kind.filled()))?;
            write(area, text, (x + 16, y), 15, &FAINT, HPos::Left)?;
            x += 40 + 7 * text.len() as i32;
        }
    }
    Ok(())
}

fn colour(of: &Figures) -> RGBColor {
    match of.packets_in {
        _ if of.imix_measured => IMIX,
        "cache" => WARM,
        _ => SMALL,
    }
}

fn write(
    area: &Area<'_>,
    text: &str,
    at: (i32, i32),
    size: i32,
    colour: &RGBColor,
    side: HPos,
) -> Drawn {
    let style = (FONT, size).into_font().color(colour).pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text.to_owned(), at, style))
}

/// The lines of the grid, and how long a bar is.
struct Axis {
    step: f64,
    scale: Scale,
}

impl Axis {
    /// Long enough for each of `bars`, in cycles, and no longer than to the next line.
    fn of(bars: impl Iterator<Item = f64>) -> Self {
        let most = bars.fold(1.0, f64::max);
        let step = step(most);
        Self { step, scale: Scale { cycles: (most / step).ceil() * step } }
    }
}

/// From cycles to places.
struct Scale {
    cycles: f64,
}

impl Scale {
    fn x(&self, cycles: f64) -> i32 {
        LEFT + (f64::from(WIDTH - LEFT - RIGHT) * cycles / self.cycles).round() as i32
    }
}

/// 1, 2 or 5 times a power of ten, so that there are four to ten of them in `most`.
fn step(most: f64) -> f64 {
    let power = 10f64.powf((most / 4.0).log10().floor());
    let fits = |factor: &f64| most / (power * factor) >= 4.0;
    power * [5.0, 2.0, 1.0].into_iter().find(fits).unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_has_four_to_ten_lines() {
        for most in [1.0, 3.9, 40.0, 41.0, 99.0, 123.0, 1800.0, 4999.0] {
            let lines = most / step(most);
            assert!((4.0..=10.0).contains(&lines), "{most}: {lines}");
        }
    }

    #[test]
    fn the_axis_is_as_long_as_the_longest_bar() {
        assert_eq!(Axis::of([3.0, 81.0, 79.0].into_iter()).scale.cycles, 100.0);
        assert_eq!(Axis::of([80.0].into_iter()).scale.cycles, 80.0);
    }

    #[test]
    fn only_svg_is_taken() {
        assert!(path("a.svg").is_ok() && path("b.SVG").is_ok());
        assert!(path("a.png").unwrap_err().contains(".svg"));
        assert!(path("svg").is_err());
    }
}
