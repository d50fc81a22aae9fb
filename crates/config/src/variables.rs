//! The environment against the list of settings, and names of our family that nobody knows.

use crate::discovery;
use crate::draft::Draft;
use crate::environment::Variable;
use crate::expand::{Gap, expand_variable};
use crate::known;
use crate::report::{Origin, Severity, nearest};
use crate::setting::{Setting, catalog};

/// Variables that choose the configuration file, and so are no settings in it.
pub(crate) const CONFIG_FILE: [&str; 3] = ["FERROVIA_CONFIG", "AURORA_CONFIG_PATH", "GOMODEL_CONFIG"];

/// Takes every setting that the environment sets.
pub(crate) fn read(draft: &mut Draft<'_>) {
    for setting in &catalog().settings {
        if let Some((name, variable)) = agreed(draft, &setting.env) {
            take(draft, setting, &name, &variable);
        }
    }
}

/// The variable that is set among several names for one thing. Two that differ are an error.
pub(crate) fn agreed<S: AsRef<str>>(draft: &mut Draft<'_>, names: &[S]) -> Option<(String, Variable)> {
    let set = names
        .iter()
        .map(AsRef::as_ref)
        .filter_map(|n| Some((n.to_owned(), draft.environment.get(n)?.clone())));
    let set: Vec<(String, Variable)> = set.collect();
    let first = set.first()?.clone();
    for (name, variable) in &set[1..] {
        if variable.value != first.1.value {
            let problem =
                format!("{name} and {} are two names of one setting, and have different values", first.0);
            draft.error(&variable.origin, name, problem, "keep one of the two variables");
            return None;
        }
    }
    Some(first)
}

fn take(draft: &mut Draft<'_>, setting: &Setting, name: &str, variable: &Variable) {
    match expand_variable(variable, &draft.environment) {
        Ok(text) => {
            let path = setting.path.split('.').map(String::from).collect();
            let before = draft.findings.len();
            draft.put(path, setting, &text, variable.origin.clone());
            // Whoever reads the report looks for the variable, not for the path in YAML.
            draft.findings[before..].iter_mut().for_each(|f| f.setting = name.to_owned());
        }
        Err(gap) => drop(broken(draft, name, variable, gap)),
    }
}

/// Reports a variable whose value cannot be known.
pub(crate) fn broken<'d>(
    draft: &'d mut Draft<'_>,
    name: &str,
    variable: &Variable,
    gap: Gap,
) -> &'d mut crate::Finding {
    let origin = variable.origin.clone();
    match gap {
        Gap::Broken(problem, fix) => draft.error(&origin, name, problem, fix),
        Gap::Unset(unset) => {
            let problem = format!("the value holds the placeholder ${{{unset}}}, which nobody has filled in");
            draft.error(&origin, name, problem, format!("write the value itself, or ${{env:{unset}}}"))
        }
    }
}

/// Reports known settings that are not built, and names that nobody knows.
pub(crate) fn read_rest(draft: &mut Draft<'_>) {
    let all: Vec<(String, Variable)> =
        draft.environment.iter().map(|(n, v)| (n.to_owned(), v.clone())).collect();
    for (name, variable) in all {
        let setting = catalog().settings.iter().any(|s| s.env.contains(&name));
        if setting || CONFIG_FILE.contains(&name.as_str()) {
            continue;
        }
        if let Some(known) = known::variable(&name) {
            let text = expand_variable(&variable, &draft.environment).map(|e| e.text).unwrap_or_default();
            draft.note_unbuilt(known, known.weigh_text(&text), &name, &text, &variable.origin);
        } else if discovery::claim(draft.types, &name).is_none() {
            unknown(draft, &name, &variable.origin);
        }
    }
}

fn unknown(draft: &mut Draft<'_>, name: &str, origin: &Origin) {
    if let Some(bare) = name.strip_prefix("FERROVIA_") {
        let provider = discovery::claim(draft.types, bare).map(|_| bare.to_owned());
        let nearest = provider.or_else(|| nearest(name, own_names()));
        let fix = match &nearest {
            Some(nearest) => format!("write {nearest}, or remove the variable"),
            None => "remove the variable; `ferrovia config reference` lists every setting".into(),
        };
        draft.error(origin, name, "there is no such setting", fix).nearest = nearest;
    } else if name.starts_with("GOMODEL_") || name.starts_with("AURORA_") {
        let nearest = nearest(name, own_names());
        let fix = "correct or remove the variable";
        draft
            .warn(origin, name, "no setting of GoModel or Aurora has this name; it is ignored", fix)
            .nearest = nearest;
    } else if let Some(meant) = slip(draft, name) {
        let fix = format!("write {meant}; if the variable is not meant for the gateway, ignore this");
        draft.warn(origin, name, "no setting has this name; it is ignored", fix).nearest = Some(meant);
    }
}

/// Names with a prefix of our family.
fn own_names() -> impl Iterator<Item = &'static str> {
    let built = catalog().settings.iter().flat_map(|s| s.env.iter().map(String::as_str));
    let known = known::all().flat_map(|k| k.env.iter().copied());
    built
        .chain(known)
        .chain(CONFIG_FILE)
        .filter(|n| ["FERROVIA_", "GOMODEL_", "AURORA_"].iter().any(|p| n.starts_with(p)))
}

/// The name that is one slip of the finger away. The environment is full of names that are not ours, so no further.
fn slip(draft: &Draft<'_>, name: &str) -> Option<String> {
    let built = catalog().settings.iter().flat_map(|s| s.env.iter().map(String::as_str));
    let known = known::all().flat_map(|k| k.env.iter().copied());
    let near = |candidate: &str| candidate.len() >= 7 && strsim::damerau_levenshtein(name, candidate) == 1;
    let setting = built.chain(known).find(|c| near(c)).map(String::from);
    setting.or_else(|| discovery::slip(draft.types, name))
}

/// Whether anything found so far stops the start.
pub(crate) fn any_error(draft: &Draft<'_>) -> bool {
    draft.findings.iter().any(|f| f.severity == Severity::Error)
}
