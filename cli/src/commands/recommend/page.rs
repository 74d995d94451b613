//! The report of an evaluation or a comparison as one HTML page.

use std::io::Write;

use minijinja::Environment;
use minijinja::value::Serde;
use serde::Serialize;

use super::eval::Report;
use crate::output::OutputFile;

pub(super) fn write(page: OutputFile, report: &Report) -> anyhow::Result<()> {
    fill(page, include_str!("page.html"), report)
}

/// Fills a template with a report.
pub(super) fn fill(
    mut page: OutputFile,
    template: &str,
    report: &impl Serialize,
) -> anyhow::Result<()> {
    let mut templates = Environment::new();
    templates.add_template("page.css", include_str!("page.css"))?;
    templates.add_template("page.html", template)?;
    let html = templates.get_template("page.html")?.render(Serde(report))?;
    page.write_all(html.as_bytes())?;
    page.commit()?;
    Ok(())
}
