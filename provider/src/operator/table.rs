//! Columns for people.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};

/// Lines with columns as wide as their widest entry, two blanks between them. Columns whose titles end in a blank are numbers
/// and stand right.
pub(super) fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head.iter().map(|title| title.trim_end()));
    table.add_rows(rows);
    for (index, title) in head.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 2));
            if title.ends_with(' ') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_stand_right() {
        let rows = [["a", "7"], ["longer", "4096"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&["NODE", "FREE "], rows), "NODE    FREE\na          7\nlonger  4096");
    }
}
