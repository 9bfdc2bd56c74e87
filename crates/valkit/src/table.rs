//! Columns, aligned.

use crate::text::printable;

/// One column of a table.
pub(crate) struct Column<T> {
    pub(crate) head: &'static str,
    /// Numbers stand on the right.
    pub(crate) right: bool,
    pub(crate) cell: fn(&T) -> String,
}

/// Rows ready to be written. What is not printable is escaped: no cell can move the cursor or forge a row.
pub(crate) struct Table {
    heads: Vec<&'static str>,
    right: Vec<bool>,
    cells: Vec<Vec<String>>,
}

// === impl Column ===

impl<T> Column<T> {
    pub(crate) const fn left(head: &'static str, cell: fn(&T) -> String) -> Self {
        Self { head, right: false, cell }
    }

    pub(crate) const fn right(head: &'static str, cell: fn(&T) -> String) -> Self {
        Self { head, right: true, cell }
    }
}

// === impl Table ===

impl Table {
    pub(crate) fn new<T>(columns: &[Column<T>], rows: &[T]) -> Self {
        let cells =
            rows.iter().map(|row| columns.iter().map(|column| printable(&(column.cell)(row))).collect());
        Self {
            heads: columns.iter().map(|column| column.head).collect(),
            right: columns.iter().map(|column| column.right).collect(),
            cells: cells.collect(),
        }
    }

    /// The text; nothing at all if there is no row.
    pub(crate) fn render(&self, colour: bool) -> String {
        if self.cells.is_empty() {
            return String::new();
        }
        let widths: Vec<usize> = (0..self.heads.len())
            .map(|i| {
                self.cells.iter().map(|row| width(&row[i])).chain([self.heads[i].len()]).max().unwrap_or(0)
            })
            .collect();
        let heads: Vec<String> = self.heads.iter().map(|head| (*head).to_owned()).collect();
        let mut text = String::new();
        if colour {
            text.push_str("\x1b[1m");
        }
        text.push_str(&self.line(&heads, &widths));
        if colour {
            text.push_str("\x1b[0m");
        }
        text.push('\n');
        for row in &self.cells {
            text.push_str(&self.line(row, &widths));
            text.push('\n');
        }
        text
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for (i, cell) in cells.iter().enumerate() {
            let gap = " ".repeat(widths[i].saturating_sub(width(cell)));
            if i > 0 {
                line.push_str("  ");
            }
            if self.right[i] {
                line.push_str(&gap);
                line.push_str(cell);
            } else {
                line.push_str(cell);
                line.push_str(&gap);
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column<(&str, u64)>; 2] =
        [Column::left("NAME", |row| row.0.to_owned()), Column::right("COUNT", |row| row.1.to_string())];

    #[test]
    fn columns_are_aligned() {
        let text = Table::new(&COLUMNS, &[("a", 1), ("größer", 1000)]).render(false);
        assert_eq!(text, "NAME    COUNT\na           1\ngrößer   1000\n");
    }

    #[test]
    fn no_rows_no_table() {
        assert_eq!(Table::new(&COLUMNS, &[]).render(false), "");
    }

    #[test]
    fn cells_cannot_break_out() {
        let text = Table::new(&COLUMNS, &[("a\nb\x1b[2J", 1)]).render(false);
        assert_eq!(text.lines().count(), 2);
        assert!(!text.contains('\x1b'), "{text:?}");
    }
}
