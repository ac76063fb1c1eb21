//! Results on stdout: tables for people, JSON for programs; a reader that goes away is no error.

use std::io::{self, Write};

use anyhow::Context;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

/// What an error of writing results is told with.
pub(crate) const STDOUT: &str = "cannot write to stdout";

/// True when the error is that nobody reads stdout any more.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let is = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let json =
            cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(io::ErrorKind::BrokenPipe)
    };
    error.chain().any(is)
}

/// Writes `text` and ends the line.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.write_all(b"\n")).context(STDOUT)
}

/// Writes `value` as JSON, indented.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string_pretty(value)?)
}

/// A column's name, and whether its cells are numbers, which stand at the right.
pub(crate) enum Column {
    Text(&'static str),
    Number(&'static str),
}

/// Lays out `rows` below the names of `columns`; no colours, no lines.
pub(crate) fn table(columns: &[Column], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    let name = |column: &Column| match column {
        Column::Text(name) | Column::Number(name) => (*name).to_owned(),
    };
    table.set_header(columns.iter().map(name));
    table.add_rows(rows);
    for (index, column) in columns.iter().enumerate() {
        if let (Column::Number(_), Some(laid)) = (column, table.column_mut(index)) {
            laid.set_cell_alignment(CellAlignment::Right);
        }
    }
    for laid in table.column_iter_mut() {
        laid.set_padding((0, 2));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// A count with its thousands apart: `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_and_stand_at_the_right() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        let columns = [Column::Text("port"), Column::Number("packets")];
        let rows = [("eth0", 7), ("a", 12_345)].map(|(name, n)| vec![name.to_owned(), count(n)]);
        assert_eq!(table(&columns, rows), "port  packets\neth0        7\na      12,345");
    }

    #[test]
    fn a_broken_pipe_is_found_behind_its_context() {
        let pipe = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_broken_pipe(&anyhow::Error::from(pipe).context("writing")));
        assert!(!is_broken_pipe(&io::Error::from(io::ErrorKind::NotFound).into()));
    }
}
