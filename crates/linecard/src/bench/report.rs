//! The figures for people.

use super::measure::Figures;
use crate::output::{self, Column};

/// A table, and below it what its columns mean. A column that no case has a figure for is left out.
pub(super) fn text(figures: &[Figures]) -> String {
    let counted = are_counted(figures);
    let mut columns = vec![
        Column::Text("case"),
        Column::Number("Mpps/core"),
        Column::Number("cycles/packet"),
        Column::Number("min–max"),
    ];
    columns.extend(counted.then_some(Column::Number("instr./packet")));
    columns.extend(["Gbit/s L1", "L2", "workers"].map(Column::Number));
    let rows = figures.iter().map(|of| row(of, counted));
    format!("{}\n\n{}", output::table(&columns, rows), notes(figures))
}

/// Whether instructions of any case were counted.
fn are_counted(figures: &[Figures]) -> bool {
    figures.iter().any(|of| of.instructions_per_packet.is_some())
}

fn row(of: &Figures, counted: bool) -> Vec<String> {
    let instructions = of.instructions_per_packet.map(|count| format!("{count:.0}"));
    let workers = match of.speedup_over_one_worker {
        Some(speedup) => format!("{} (×{speedup:.2})", of.workers),
        None => of.workers.to_string(),
    };
    let mut row = vec![
        of.case.to_owned(),
        format!("{:.1}", of.mpps_per_core),
        format!("{:.1}", of.cycles_per_packet),
        format!("{:.1}–{:.1}", of.cycles_per_packet_min, of.cycles_per_packet_max),
    ];
    row.extend(counted.then(|| instructions.unwrap_or_else(|| "—".to_owned())));
    row.extend([format!("{:.1}", of.gbps_l1), format!("{:.1}", of.gbps_l2), workers]);
    row
}

fn notes(figures: &[Figures]) -> String {
    let Some(first) = figures.first() else { return String::new() };
    let machine = &first.machine;
    let overhead = figures.iter().map(|of| of.cycles_per_packet_overhead).fold(0.0, f64::max);
    let mut notes = vec![
        format!(
            "{}, {} cores, {}, Linecard {}, seed {}",
            machine.cpu_model, machine.cores, machine.kernel, machine.version, first.seed
        ),
        format!(
            "Cycles are {:.3} GHz TSC cycles: median of {} rounds, queues left out ({:.1} cycles a \
             packet at the most). L1 counts preamble and gap (20 bytes a packet), L2 does not.",
            machine.tsc_hz as f64 / 1e9,
            first.rounds,
            overhead,
        ),
        "Frames have 64 bytes (IPv6: 66, with filters 78), IMIX 7:4:1 of 64, 594 and 1,518; headers are new in each \
         round. Every packet was checked."
            .to_owned(),
    ];
    let has_worker = |of: &Figures| of.routes > 0;
    if figures.iter().any(has_worker) && !are_counted(figures) {
        notes.push("Instructions are not told: this machine does not count them.".to_owned());
    }
    if figures.iter().any(|of| of.speedup_over_one_worker.is_some()) {
        notes.push(
            "Workers (×): all together against one of them alone, in the same rounds and with as many \
             packets each. Mpps and cycles are those of a core, Gbit/s of all workers."
                .to_owned(),
        );
    }
    let smallest = figures.iter().filter(|of| of.packets_in == "memory");
    if let Some(bytes) = smallest.map(|of| of.working_set_bytes).min()
        && bytes <= machine.l3_bytes
    {
        notes.push(format!(
            "The packets' headers ({} KiB) fit into the last cache ({} KiB): not for comparison.",
            bytes >> 10,
            machine.l3_bytes >> 10
        ));
    }
    notes.join("\n")
}
