//! What is printed on standard output: tables for people, JSON and YAML for programs.

use std::io::{self, Write as _};

use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

/// `-o`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people; its form may change.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
}

/// Prints `data` in one of the forms; `table` says how it looks to people.
pub(crate) fn print<T: Serialize>(
    format: Format,
    data: &T,
    table: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    let mut text = match format {
        Format::Table => table(data),
        Format::Json => serde_json::to_string_pretty(data)?,
        Format::Yaml => serde_saphyr::to_string(data)?,
    };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// A table of text: headings, and which columns are numbers (flush right).
pub(crate) fn table<const N: usize>(
    headings: [&str; N],
    right: &[usize],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(headings);
    table.add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        let from_the_left = if index == 0 { 0 } else { 1 };
        column.set_padding((from_the_left, 1));
        if right.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_plain_text() {
        let rows = [
            ["orders".to_owned(), "12".to_owned()],
            ["a".to_owned(), "1,234".to_owned()],
        ];
        assert_eq!(
            table(["TOPIC", "RECORDS"], &[1], rows),
            "TOPIC   RECORDS\norders       12\na         1,234\n"
        );
    }
}
