//! The part of a Markdown page that a run writes, between two markers.

use anyhow::Context;

use super::charts::Chart;
use super::{headline, table, tables};
use crate::goals::Judged;
use crate::run::Run;
use crate::samples::Samples;

/// Tables and charts. `charts` is where those lie, as the page sees it.
pub(super) fn part(
    run: &Run,
    samples: &Samples,
    judged: &[Judged],
    charts: &[Chart],
    folder: Option<&str>,
) -> String {
    let mut text = format!("{}.\n\n", headline(run, samples).replace('\n', ".\n"));
    for remark in &run.remarks {
        text.push_str(&format!("Note: {remark}.\n\n"));
    }
    if !judged.is_empty() {
        text.push_str(&format!("{}\n", table::goals(judged, samples).markdown()));
    }
    for table in tables(run, samples) {
        text.push_str(&format!("{}\n", table.markdown()));
    }
    for (chart, folder) in charts.iter().filter_map(|chart| Some((chart, folder?))) {
        text.push_str(&format!("![{}]({folder}{})\n\n", chart.title, chart.file));
    }
    text
}

/// The page with another part between its markers of this name.
pub(super) fn replace(page: &str, name: &str, part: &str) -> anyhow::Result<String> {
    let (begin, end) = (format!("<!-- {name}:begin -->"), format!("<!-- {name}:end -->"));
    let missing = || format!("the page has no line `{begin}` with a line `{end}` behind it");
    let (before, rest) = page.split_once(&begin).with_context(missing)?;
    let (_, after) = rest.split_once(&end).with_context(missing)?;
    Ok(format!("{before}{begin}\n\n{}\n\n{end}{after}", part.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_between_the_markers_changes() {
        let page = "a\n<!-- x:begin -->\nold\n<!-- x:end -->\nz\n<!-- y:begin --><!-- y:end -->\n";
        let new = replace(page, "x", "new\n\n").unwrap();
        assert_eq!(new, "a\n<!-- x:begin -->\n\nnew\n\n<!-- x:end -->\nz\n<!-- y:begin --><!-- y:end -->\n");
        assert_eq!(replace(&new, "x", "new").unwrap(), new);
        assert!(replace(page, "z", "new").unwrap_err().to_string().contains("<!-- z:begin -->"));
    }
}
