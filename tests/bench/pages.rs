//! The pages: tables between markers, and the plots beside them. All else in a page is left as it is.

mod growth;
mod overload;
mod standard;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::results::Results;
use crate::scaling;

/// Writes every table and plot anew.
pub fn render(results: &Results, docs: &Path) -> anyhow::Result<()> {
    let all = results.all();
    let mut page = Page::open(docs.join("performance.md"))?;
    page.put("bench", &standard::tables(&all["bench"]))?;
    page.put("growth", &growth::tables(&all["growth"]))?;
    page.put("overload", &overload::tables(&all["overload"]))?;
    page.close()?;
    let mut page = Page::open(docs.join("scaling.md"))?;
    page.put("scaling", &scaling::tables(all))?;
    page.close()?;
    let plots = [
        standard::plots(&all["bench"]),
        growth::plots(&all["growth"]),
        overload::plots(&all["overload"]),
    ];
    for (name, svg) in plots.into_iter().flatten() {
        fs::write(docs.join("performance").join(format!("{name}.svg")), svg)?;
    }
    Ok(())
}

/// A page whose tables are between markers.
struct Page {
    path: PathBuf,
    text: String,
}

impl Page {
    fn open(path: PathBuf) -> anyhow::Result<Self> {
        let text = fs::read_to_string(&path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        Ok(Self { path, text })
    }

    /// Replaces what stands between the markers of that name.
    fn put(&mut self, name: &str, tables: &str) -> anyhow::Result<()> {
        self.text = replaced(&self.text, name, tables)?;
        Ok(())
    }

    fn close(self) -> anyhow::Result<()> {
        Ok(fs::write(self.path, self.text)?)
    }
}

fn replaced(text: &str, name: &str, tables: &str) -> anyhow::Result<String> {
    let (begin, end) = (
        format!("<!-- {name}:begin -->"),
        format!("<!-- {name}:end -->"),
    );
    let (before, rest) = text
        .split_once(&begin)
        .with_context(|| format!("no {begin}"))?;
    let (_, after) = rest
        .split_once(&end)
        .with_context(|| format!("no {end} after {begin}"))?;
    ensure!(!after.contains(&begin), "{begin} stands there twice");
    let tables = match tables.trim() {
        "" => "Not measured yet.",
        tables => tables,
    };
    Ok(format!("{before}{begin}\n\n{tables}\n\n{end}{after}"))
}

/// A table in Markdown.
pub fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(headings.to_vec());
    text.push_str(&line(vec!["---"; N]));
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_stands_between_the_markers_is_replaced() {
        let page = "a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb\n";
        let once = replaced(page, "x", "new").unwrap();
        assert_eq!(once, "a\n<!-- x:begin -->\n\nnew\n\n<!-- x:end -->\nb\n");
        assert_eq!(replaced(&once, "x", "new").unwrap(), once);
        assert!(replaced(page, "y", "new").is_err());
    }
}
