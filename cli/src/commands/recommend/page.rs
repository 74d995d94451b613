//! The report of an evaluation or a comparison as one HTML page.

use std::io::Write;

use minijinja::Environment;
use minijinja::value::{Serde, Value};
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
    let style = Value::from_safe_string(include_str!("page.css").to_owned());
    templates.add_global("style", style);
    templates.add_template("page.html", template)?;
    let html = templates.get_template("page.html")?.render(Serde(report))?;
    page.write_all(html.as_bytes())?;
    page.commit()?;
    Ok(())
}
