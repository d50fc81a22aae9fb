//! Plain prose, made from a seed.

use crate::seed::Choices;

/// Words that the vocabulary of [`crate::tokens`] knows; the prose below is written with them.
pub(crate) const WORDS: &str = "the be to of and a in that have it for not on with he as you do at this but his by from they we say her she or an will my one all would there their what so up out if about who get which go me when make can like time no just him know take people into year your good some could them see other than then now look only come its over think also back after use two how our work first well way even new want because any these give day most us is are was were been has had did does am may must should shall might more very much many each every both few own same such here where why again still while during before between under through against without within along among across behind beyond never always often soon once later today next last long short small large great little old young high low right left open close start stop end begin move turn call ask answer tell show find keep hold let put set run read write send receive wait serve check test build change add remove create delete update list name type value key text token model gateway engine queue request response stream batch cache prompt server client call route budget limit retry signal error message system user assistant tool function weather city country temperature result data file line page code word number string object array index query document score rank label vector embed search store load save open source target path method header body status route event chunk part piece step phase state node edge tree table row column field record track train station bridge rail signal switch platform ticket freight tunnel conductor passenger morning evening night hour minute second week month sun rain snow wind cloud storm warm cold clear mild steady quick slow quiet bright river mountain forest valley north south east west hello thanks please yes okay sure note however therefore instead perhaps because although whether answer question example reason idea plan order case point fact place hand side head house world life man woman child school state company group problem program power water money story business issue service area course website account report arrives carries opens closes follows crosses joins leaves passes reaches waits answers checks streams keeps sends reads counts measures holds turns knows needs means helps shows gives asked said using being having doing making going called based true false null";

const SUBJECTS: [&str; 16] = [
    "gateway",
    "engine",
    "model",
    "server",
    "queue",
    "batch",
    "cache",
    "budget",
    "train",
    "conductor",
    "signal",
    "station",
    "bridge",
    "router",
    "platform",
    "stream",
];
const VERBS: [&str; 16] = [
    "checks", "streams", "keeps", "sends", "reads", "counts", "measures", "holds", "carries", "opens",
    "closes", "follows", "crosses", "joins", "reaches", "answers",
];
const OBJECTS: [&str; 16] = [
    "request", "response", "token", "prompt", "message", "ticket", "route", "track", "record", "page",
    "answer", "question", "line", "word", "chunk", "event",
];
const ENDS: [&str; 12] = [
    "before the next one arrives",
    "without a word",
    "once every hour",
    "in the same order",
    "while the queue is short",
    "and then waits",
    "before the morning",
    "across the river",
    "through the tunnel",
    "and keeps it open",
    "after the first signal",
    "under a clear sky",
];
const THOUGHTS: [&str; 8] = [
    "The user wants a short answer.",
    "First I look at the question again.",
    "There is enough here to answer.",
    "I should keep this simple.",
    "Let me check what was asked.",
    "The facts are clear, so I can answer now.",
    "I need no tool for this.",
    "One step after the other.",
];

/// One sentence, without a space before it.
fn sentence(choices: &mut Choices) -> String {
    let (subject, verb, object) = (choices.pick(&SUBJECTS), choices.pick(&VERBS), choices.pick(&OBJECTS));
    match choices.below(3) {
        0 => format!("The {subject} {verb} the {object}."),
        1 => format!("The {subject} {verb} the {object} {}.", choices.pick(&ENDS)),
        _ => format!("Every {subject} {verb} one {object} {}.", choices.pick(&ENDS)),
    }
}

/// An answer of one to four sentences; the first is about the topic, if there is one.
pub(crate) fn answer(choices: &mut Choices, topic: Option<&str>) -> String {
    let mut text = match topic {
        Some(topic) => format!("You asked about {topic}."),
        None => sentence(choices),
    };
    for _ in 0..=choices.below(3) {
        text.push(' ');
        text.push_str(&sentence(choices));
    }
    text
}

/// What an engine thinks before it answers.
pub(crate) fn thought(choices: &mut Choices) -> String {
    let first = choices.below(THOUGHTS.len());
    let second = (first + 1 + choices.below(THOUGHTS.len() - 1)) % THOUGHTS.len();
    format!("{} {}", THOUGHTS[first], THOUGHTS[second])
}

/// More prose, until there are at least so many bytes.
pub(crate) fn go_on(choices: &mut Choices, text: &mut String, bytes: usize) {
    while text.len() < bytes {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&sentence(choices));
    }
}

/// One ordinary word.
pub(crate) fn word(choices: &mut Choices) -> &'static str {
    OBJECTS[choices.below(OBJECTS.len())]
}

/// What a text seems to be about: its longest plain word.
pub(crate) fn topic(text: &str) -> Option<&str> {
    // the end of a long prompt is where the question is
    let mut from = text.len().saturating_sub(2_000);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text[from..]
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| {
            (4..=24).contains(&word.len()) && word.chars().all(|letter| letter.is_ascii_alphabetic())
        })
        .reduce(|best, word| if word.len() > best.len() { word } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_says_the_same() {
        let say = |seed| answer(&mut Choices::new(seed), None);
        assert_eq!(say(7), say(7));
        assert_ne!(say(7), say(8));
    }

    #[test]
    fn the_topic_is_the_longest_plain_word() {
        assert_eq!(topic("What is the weather in Paris?"), Some("weather"));
        assert_eq!(topic("Hi"), None);
        assert_eq!(topic("Größenordnung"), None);
    }
}
