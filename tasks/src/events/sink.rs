use super::fields::{Fields, Record};
use super::{Event, EventOptions};
use crate::{Error, Place, Result};

/// Takes records one by one, and gives them on as events.
pub(super) struct Sink<'a> {
    file: &'a str,
    pub(super) options: &'a EventOptions,
    take: &'a mut dyn FnMut(Place, Event<'_>) -> Result<()>,
}

impl<'a> Sink<'a> {
    pub(super) fn new(
        file: &'a str,
        options: &'a EventOptions,
        take: &'a mut dyn FnMut(Place, Event<'_>) -> Result<()>,
    ) -> Self {
        Self {
            file,
            options,
            take,
        }
    }

    pub(super) fn push(
        &mut self,
        place: Place,
        fields: &Fields,
        record: &Record<'_>,
    ) -> Result<()> {
        let event = fields.event(record);
        let event = event.map_err(|problem| self.bad(place, problem))?;
        (self.take)(place, event)
    }

    /// The error of a file that cannot be read.
    pub(super) fn unreadable(&self, problem: impl Into<String>) -> Error {
        Error::Format {
            file: self.file.to_owned(),
            problem: problem.into(),
        }
    }

    /// The error of a record that cannot be read.
    pub(super) fn bad(&self, place: Place, problem: impl Into<String>) -> Error {
        Error::Record {
            file: self.file.to_owned(),
            place,
            problem: problem.into(),
        }
    }
}
