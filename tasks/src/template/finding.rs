use std::fmt;

/// What is wrong, or doubtful, in a file of templates, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file's name, as the caller gave it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The template's name, if the file could be read so far.
    pub template: Option<String>,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}", self.file, self.line)?;
        if let Some(template) = &self.template {
            write!(f, ", template {template:?}")?;
        }
        write!(f, ": {}", self.problem)
    }
}
