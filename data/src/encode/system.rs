//! The system message that is asked for, as samples have it.

use std::borrow::Cow;

use super::TextEncoder;
use crate::Content;

impl TextEncoder {
    /// The content with the system message that was asked for, where it lacks one.
    pub(super) fn with_system<'a>(&self, content: &'a Content) -> Cow<'a, Content> {
        match &self.spec.system {
            Some(system) => self.template.with_system(content, system),
            None => Cow::Borrowed(content),
        }
    }

    /// Whether a content begins with the system message that was asked for; with none as well. A template may
    /// write none.
    pub(crate) fn says_system(&self, content: &Content) -> bool {
        let Some(system) = &self.spec.system else { return true };
        let Cow::Owned(with) = self.with_system(content) else { return false };
        let text = |content: &Content| self.template.render(content).map(|rendered| rendered.text);
        match (text(&with), text(content)) {
            (Ok(with), Ok(without)) => with != without || with.contains(system.trim()),
            // Encoding says what is wrong with it.
            _ => true,
        }
    }
}
