//! Which of an upstream's models are shown: case-blind globs on the raw id.

/// An operator's choice among an upstream's models.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// If any, one of them must match.
    pub include: Vec<String>,
    /// None of them may match.
    pub exclude: Vec<String>,
}

impl Filter {
    /// Whether this model is shown.
    pub fn shows(&self, id: &str) -> bool {
        let id = id.to_lowercase();
        let hit = |globs: &[String]| globs.iter().any(|glob| matches(&glob.to_lowercase(), &id));
        (self.include.is_empty() || hit(&self.include)) && !hit(&self.exclude)
    }
}

/// Whether a glob matches a text: `*` stands for any text, `?` for one character.
pub fn matches(glob: &str, text: &str) -> bool {
    let (glob, text): (Vec<char>, Vec<char>) = (glob.chars().collect(), text.chars().collect());
    let (mut g, mut t) = (0, 0);
    // where the last `*` stood, and which text it is taken to cover: widened by one whenever the rest fails
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match glob.get(g) {
            Some('*') => {
                star = Some((g, t));
                g += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                g += 1;
                t += 1;
            }
            _ => match star {
                Some((at, covered)) => {
                    star = Some((at, covered + 1));
                    g = at + 1;
                    t = covered + 1;
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_people_expect() {
        let check = |glob, text, expect| assert_eq!(matches(glob, text), expect, "{glob} {text}");
        check("*", "", true);
        check("meta-*/*-instruct", "meta-llama/llama-3.1-8b-instruct", true);
        check("gpt-?", "gpt-5", true);
        check("gpt-?", "gpt-55", false);
        check("*b*b", "abcb", true);
        check("", "x", false);
    }

    #[test]
    fn exclusion_wins() {
        let filter = Filter { include: vec!["GPT-*".into()], exclude: vec!["*-mini".into()] };
        assert!(filter.shows("gpt-5"));
        assert!(!filter.shows("gpt-5-mini"));
        assert!(!filter.shows("o3"));
    }
}
