//! The report of an evaluation as one HTML page.

use std::io::Write;

use minijinja::Environment;
use minijinja::value::Serde;

use super::eval::Report;
use crate::output::OutputFile;

pub(super) fn write(mut page: OutputFile, report: &Report) -> anyhow::Result<()> {
    let mut templates = Environment::new();
    templates.add_template("page.html", include_str!("page.html"))?;
    let html = templates.get_template("page.html")?.render(Serde(report))?;
    page.write_all(html.as_bytes())?;
    page.commit()?;
    Ok(())
}
