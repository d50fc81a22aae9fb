//! What is answered: a thought, a text, or a call of a tool.

use serde_json::{Value, json};

use crate::conversation::{Call, Choice, Conversation, Shape, Tool};
use crate::pattern;
use crate::schema::Filler;
use crate::seed::Choices;
use crate::text;

/// Words in tool names that say what is done, not what it is about.
const VERBS: &str = "get set list read write edit run exec execute create update delete find search fetch make call \
    tool tools function task tasks file files shell bash command image view plan apply patch stdin input output agent \
    with from name text data code send open close todo notebook multi skill user request question this that have your";

/// An answer, before it is cut into tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) thought: Option<String>,
    pub(crate) text: Option<String>,
    pub(crate) call: Option<Call>,
}

/// The answer to a conversation.
///
/// # Errors
/// Why the shape that was asked for cannot be met.
pub(crate) fn answer(conversation: &Conversation, reasoning: bool, seed: u64) -> Result<Answer, String> {
    let mut choices = Choices::new(seed);
    let said = conversation.turns.iter().rev().find(|turn| turn.role == "user");
    let said = said.map_or("", |turn| turn.last_part.as_deref().unwrap_or(&turn.text));
    let thought = (reasoning && !conversation.without_thought).then(|| text::thought(&mut choices));
    if let Some(tool) = wanted_tool(conversation) {
        let arguments = Filler::new(&tool.parameters, seed, said).fill()?;
        let call = Call { name: tool.name.clone(), arguments: spaced(&arguments) };
        return Ok(Answer { thought, call: Some(call), text: None });
    }
    let text = match &conversation.shape {
        Shape::Free => match conversation.tool_answer() {
            Some((tool, answer)) => format!("{tool} answered: {}", shortened(answer)),
            None => text::answer(&mut choices, conversation.asked().and_then(text::topic)),
        },
        Shape::Object => json!({"answer": text::answer(&mut choices, text::topic(said))}).to_string(),
        Shape::Schema(schema) => Filler::new(schema, seed, said).fill()?.to_string(),
        Shape::Either(texts) if !texts.is_empty() => choices.pick(texts).clone(),
        Shape::Either(_) => String::new(),
        Shape::Pattern(pattern) => pattern::matching(pattern, &mut choices)?,
    };
    Ok(Answer { thought, text: Some(text), call: None })
}

/// The tool that must be called, or that the user's last words are about.
fn wanted_tool(conversation: &Conversation) -> Option<&Tool> {
    let tools = &conversation.tools;
    let mentioned = |asked: &str| tools.iter().find(|tool| mentions(asked, &tool.name));
    match &conversation.choice {
        Choice::None => None,
        Choice::Named(name) => tools.iter().find(|tool| tool.name == *name),
        Choice::Required => conversation.asked().and_then(mentioned).or(tools.first()),
        Choice::Auto => conversation.asked().and_then(mentioned),
    }
}

/// Whether a text names a tool, or one of the things its name is about.
fn mentions(asked: &str, tool: &str) -> bool {
    let words = || asked.split(|letter: char| !(letter.is_alphanumeric() || letter == '_' || letter == '-'));
    if words().any(|word| word == tool) {
        return true;
    }
    let lower: Vec<String> = words().map(str::to_lowercase).collect();
    subjects(tool).iter().any(|subject| lower.contains(subject))
}

/// `get_currentWeather` is about `current` and `weather`.
fn subjects(tool: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for letter in tool.chars() {
        if letter.is_uppercase() || !letter.is_alphanumeric() {
            words.push(String::new());
        }
        if letter.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(letter.to_lowercase());
        }
    }
    words.retain(|word| word.len() >= 4 && !VERBS.split_ascii_whitespace().any(|verb| verb == word));
    words
}

/// The beginning of a tool's answer, in one line.
fn shortened(answer: &str) -> String {
    let line: String = answer.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() {
        return "nothing.".to_owned();
    }
    match line.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// JSON with a space after each comma and colon, as models write their arguments.
fn spaced(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| format!("{}: {}", json!(name), spaced(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(spaced).collect::<Vec<_>>().join(", ")),
        plain => plain.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::Turn;

    fn asking(said: &str, choice: Choice) -> Conversation {
        let weather = Tool {
            name: "get_weather".to_owned(),
            description: String::new(),
            parameters: json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}),
        };
        Conversation {
            turns: vec![Turn { role: "user".to_owned(), text: said.to_owned(), ..Turn::default() }],
            tools: vec![weather],
            choice,
            ..Conversation::default()
        }
    }

    #[test]
    fn a_tool_is_called_when_the_talk_is_of_its_subject() {
        let call =
            answer(&asking("What is the weather in Paris?", Choice::Auto), false, 1).unwrap().call.unwrap();
        assert_eq!((call.name.as_str(), call.arguments.as_str()), ("get_weather", r#"{"city": "Paris"}"#));
        assert_eq!(answer(&asking("Hello", Choice::Auto), false, 1).unwrap().call, None);
        assert_eq!(answer(&asking("weather?", Choice::None), false, 1).unwrap().call, None);
        assert!(answer(&asking("Hello", Choice::Required), false, 1).unwrap().call.is_some());
    }

    #[test]
    fn a_tools_answer_is_followed_by_text() {
        let mut conversation = asking("What is the weather in Paris?", Choice::Auto);
        let call = Call { name: "get_weather".to_owned(), arguments: "{}".to_owned() };
        conversation.turns.push(Turn { role: "assistant".to_owned(), calls: vec![call], ..Turn::default() });
        conversation.turns.push(Turn {
            role: "tool".to_owned(),
            text: "sunny".to_owned(),
            ..Turn::default()
        });
        let answer = answer(&conversation, false, 1).unwrap();
        assert_eq!(answer.text.as_deref(), Some("get_weather answered: sunny"));
    }

    #[test]
    fn only_the_subject_of_a_tools_name_counts() {
        assert_eq!(subjects("get_currentWeather"), ["current", "weather"]);
        assert!(subjects("exec_command").is_empty());
        assert!(!mentions("please read this", "Read"));
        assert!(mentions("use Read", "Read"));
    }
}
