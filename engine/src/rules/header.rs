//! The documentation at the head of a rule file: the alert's runbook and the rule catalogue.

/// The parts of a header, each as the words of its lines joined by blanks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Header {
    /// The condition, in a sentence.
    pub title: String,
    /// Why it is abnormal.
    pub why: String,
    /// What looks the same and is harmless.
    pub false_positives: String,
    /// What to do about it.
    pub remedy: String,
    /// Where the numbers come from.
    pub references: String,
}

impl Header {
    /// Reads the `//!` lines at the head of a rule file.
    pub fn read(text: &str) -> Header {
        let mut header = Header::default();
        let mut part = Part::Title;
        for line in text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim) {
            let (next, words) = Part::begun_by(line).unwrap_or((part, line));
            part = next;
            let field = match part {
                Part::Title => &mut header.title,
                Part::Why => &mut header.why,
                Part::FalsePositives => &mut header.false_positives,
                Part::Do => &mut header.remedy,
                Part::References => &mut header.references,
            };
            if !words.is_empty() {
                if !field.is_empty() {
                    field.push(' ');
                }
                field.push_str(words);
            }
        }
        header
    }

    /// The parts that a rule must have and this header lacks.
    pub fn missing(&self) -> Vec<&'static str> {
        let parts = [
            ("a first sentence", &self.title),
            ("Why:", &self.why),
            ("False positives:", &self.false_positives),
            ("Do:", &self.remedy),
        ];
        parts.into_iter().filter(|(_, text)| text.is_empty()).map(|(name, _)| name).collect()
    }
}

#[derive(Clone, Copy)]
enum Part {
    Title,
    Why,
    FalsePositives,
    Do,
    References,
}

impl Part {
    fn begun_by(line: &str) -> Option<(Part, &str)> {
        let headings = [
            ("Why:", Part::Why),
            ("False positives:", Part::FalsePositives),
            ("Do:", Part::Do),
            ("References:", Part::References),
        ];
        headings.into_iter().find_map(|(heading, part)| Some((part, line.strip_prefix(heading)?.trim())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_up_to_the_first_line_of_code() {
        let text = "//! Peers do it.\n//!\n//! Why: because\n//! they can.\n//! Do: stop them.\nconst RULE = #{};\n//! Why: not here\n";
        let header = Header::read(text);
        assert_eq!(header.title, "Peers do it.");
        assert_eq!(header.why, "because they can.");
        assert_eq!(header.missing(), ["False positives:"]);
    }
}
