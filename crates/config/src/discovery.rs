//! Providers from the environment: `VLLM_BASE_URL` is `vllm`, `VLLM_TEST_BASE_URL` is `vllm-test`.
//!
//! A name is `<TYPE>_<FIELD>` or `<TYPE>_<SUFFIX>_<FIELD>`. The longest type prefix wins, the field is matched from the
//! right, and what is between is the suffix.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::ProviderType;
use crate::draft::{Draft, provider_path};
use crate::environment::Variable;
use crate::expand::{Gap, expand_variable};
use crate::known::{self, Weight};
use crate::report::Origin;
use crate::setting::{Setting, catalog};
use crate::variables::broken;

/// What a variable says of which instance.
#[derive(Debug, PartialEq)]
pub(crate) struct Claim<'t> {
    pub(crate) kind: &'t ProviderType,
    /// As it is written; `None` for the instance named like its type.
    pub(crate) suffix: Option<String>,
    pub(crate) field: Field,
}

/// What a variable sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Field {
    /// `API_KEY` is 0, `API_KEY_<n>` is n.
    Key(u32),
    /// A setting of the provider, by its place among those that a variable can set.
    Setting(usize),
    /// `API_VERSION`, which only Azure knows; others' libraries have a variable of that name.
    ApiVersion,
    /// The cap on prices, which protects.
    PriceCap,
}

const PRICE_CAP: &str = "MODEL_FILTER_MAX_PRICE_PER_MTOK";

/// The variable prefix of a type: `bedrock-mantle` is `BEDROCK_MANTLE`.
pub(crate) fn prefix(kind: &ProviderType) -> String {
    let words = kind.name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty());
    words.collect::<Vec<_>>().join("_").to_ascii_uppercase()
}

/// The instance that a type's unsuffixed variables make.
pub(crate) fn instance_name(kind: &ProviderType, suffix: Option<&str>) -> String {
    let name = match suffix {
        Some(suffix) => format!("{}_{suffix}", prefix(kind)),
        None => prefix(kind),
    };
    name.to_ascii_lowercase().replace('_', "-")
}

/// The type whose prefix this name begins with, the longest, and what follows it.
fn typed<'t, 'n>(types: &'t [ProviderType], name: &'n str) -> Option<(&'t ProviderType, &'n str)> {
    let begins = |kind: &'t ProviderType| {
        let rest = name.strip_prefix(&prefix(kind))?.strip_prefix('_')?;
        Some((kind, rest))
    };
    types.iter().filter_map(begins).min_by_key(|(_, rest)| rest.len())
}

/// What a variable says of a provider, if it says anything.
pub(crate) fn claim<'t>(types: &'t [ProviderType], name: &str) -> Option<Claim<'t>> {
    let (kind, rest) = typed(types, name)?;
    let (before, field) = field(kind, rest)?;
    let suffix = match before {
        "" => None,
        before => Some(before.strip_suffix('_')?).filter(|s| valid_suffix(s)).map(Some)?,
    };
    Some(Claim { kind, suffix: suffix.map(String::from), field })
}

/// Splits what follows the type into suffix (with its underscore) and field.
fn field<'n>(kind: &ProviderType, rest: &'n str) -> Option<(&'n str, Field)> {
    let fields = catalog().provider_fields().enumerate().map(|(i, (name, _))| (name, Field::Setting(i)));
    let plain = fields.filter(|(name, _)| !matches!(*name, "API_KEY" | "API_KEY_<n>"));
    let special =
        [("API_KEY", Field::Key(0)), ("API_VERSION", Field::ApiVersion), (PRICE_CAP, Field::PriceCap)];
    let ends =
        |name: &str| rest.strip_suffix(name).filter(|before| before.is_empty() || before.ends_with('_'));
    let found = plain.chain(special).find_map(|(name, field)| Some((ends(name)?, field)));
    if let Some(found) = found {
        return Some(found).filter(|(_, field)| *field != Field::ApiVersion || kind.name == "azure");
    }
    let digits = rest.len() - rest.bytes().rev().take_while(u8::is_ascii_digit).count();
    let number = rest[digits..].parse().ok().filter(|n| *n > 0)?;
    let before = rest[..digits].strip_suffix("API_KEY_")?;
    (before.is_empty() || before.ends_with('_')).then_some((before, Field::Key(number)))
}

fn valid_suffix(suffix: &str) -> bool {
    suffix.split('_').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// The variable that was probably meant: a known type, and a field with one slip.
pub(crate) fn slip(types: &[ProviderType], name: &str) -> Option<String> {
    let (_, rest) = typed(types, name)?;
    let fields =
        catalog().provider_fields().map(|(field, _)| field).filter(|f| f.len() >= 7 && !f.contains('<'));
    fields.into_iter().find_map(|field| {
        let segments = field.split('_').count();
        let at = rest.rmatch_indices('_').nth(segments - 1).map_or(0, |(at, _)| at + 1);
        (rest[at..].split('_').count() == segments && strsim::damerau_levenshtein(&rest[at..], field) == 1)
            .then(|| format!("{}{field}", &name[..name.len() - rest.len() + at]))
    })
}

/// The variables of one instance.
struct Group<'t> {
    kind: &'t ProviderType,
    suffixed: bool,
    fields: BTreeMap<Field, (String, Variable)>,
}

impl Group<'_> {
    fn names(&self) -> String {
        self.fields.values().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
    }

    fn origin(&self) -> Origin {
        self.fields.values().next().map_or(Origin::Default, |(_, v)| v.origin.clone())
    }

    fn has(&self, wanted: &str) -> bool {
        self.fields.keys().any(|f| matches!(f, Field::Setting(i) if field_setting(*i).0 == wanted))
    }
}

fn field_setting(index: usize) -> (&'static str, &'static Setting) {
    catalog().provider_fields().nth(index).expect("the index came from the same list")
}

/// Lays the environment's providers over those of the file, and adds new ones.
pub(crate) fn read(draft: &mut Draft<'_>) {
    let declared: Vec<String> = draft.instances.keys().cloned().collect();
    for (name, group) in groups(draft) {
        if !group.kind.built {
            if group.kind.keyless || group.fields.keys().any(|f| matches!(f, Field::Key(_))) {
                draft.leave_out(&name, group.kind, &group.origin());
            }
            continue;
        }
        if let Some(instance) = settle(draft, &declared, &name, &group) {
            overlay(draft, &instance, &group);
        }
    }
}

fn groups<'t>(draft: &mut Draft<'t>) -> BTreeMap<String, Group<'t>> {
    let types = draft.types;
    let all: Vec<(String, Variable)> =
        draft.environment.iter().map(|(n, v)| (n.to_owned(), v.clone())).collect();
    let mut groups: BTreeMap<String, Group<'t>> = BTreeMap::new();
    for (name, variable) in all {
        let taken =
            catalog().settings.iter().any(|s| s.env.contains(&name)) || known::variable(&name).is_some();
        let Some(claim) = claim(types, &name).filter(|_| !taken) else { continue };
        if name == "OLLAMA_MODELS" && is_path(&variable.value) {
            let problem = "this is a folder of the Ollama server, not a list of models; it is ignored";
            draft.warn(
                &variable.origin,
                &name,
                problem,
                "to name models, set OLLAMA_MODELS to their ids, separated by commas",
            );
            continue;
        }
        let instance = instance_name(claim.kind, claim.suffix.as_deref());
        let suffixed = claim.suffix.is_some();
        let group = groups.entry(instance).or_insert_with(|| Group {
            kind: claim.kind,
            suffixed,
            fields: BTreeMap::new(),
        });
        group.fields.insert(claim.field, (name, variable));
    }
    groups
}

fn is_path(text: &str) -> bool {
    let drive = text.as_bytes().get(1..3).is_some_and(|b| b == b":\\" || b == b":/");
    drive || text.starts_with(['/', '~', '\\']) || text.starts_with("./") || text.starts_with("../")
}

/// The instance that a group is about; `None` if it is left out, which has then been reported.
fn settle(draft: &mut Draft<'_>, declared: &[String], name: &str, group: &Group<'_>) -> Option<String> {
    let same = |draft: &Draft<'_>, instance: &str| {
        draft.kind_of(instance).is_some_and(|k| k.name == group.kind.name)
    };
    let alike: Vec<&String> = declared.iter().filter(|d| same(draft, d)).collect();
    // `openai_compatible` in the file is what `OPENAI_COMPATIBLE_*` makes `openai-compatible`.
    let named = |d: &&&String| d.as_str() == name || !group.suffixed && d.as_str() == group.kind.name;
    if let Some(instance) = alike.iter().find(named) {
        return Some((**instance).clone());
    }
    if declared.iter().any(|d| d == name) {
        let problem = format!(
            "{} would make `{name}` a provider of type {}, but the file gives that name another type",
            group.names(),
            group.kind.name
        );
        draft.error(
            &group.origin(),
            name,
            problem,
            "rename the provider in the file, or use another suffix in the variables",
        );
        return None;
    }
    let referenced = |draft: &Draft<'_>| {
        let used = draft.environment.referenced.borrow();
        group.fields.values().all(|(name, _)| used.contains(name))
    };
    if !group.suffixed && alike.len() == 1 {
        let instance = alike[0].clone();
        if !referenced(draft) {
            let problem = format!(
                "{} applies to `{instance}`, the only provider of type {} in the file",
                group.names(),
                group.kind.name
            );
            draft.warn(
                &group.origin(),
                &instance,
                problem,
                format!("name the provider `{name}` in the file, or use variables with a suffix"),
            );
        }
        return Some(instance);
    }
    if !group.suffixed && alike.len() > 1 {
        if !referenced(draft) {
            let problem = format!(
                "{} is ignored: the file has {} providers of type {}",
                group.names(),
                alike.len(),
                group.kind.name
            );
            draft.warn(
                &group.origin(),
                name,
                problem,
                "refer to the variable in the file as ${NAME}, or use a suffix",
            );
        }
        return None;
    }
    if group.kind.needs_base_url && !group.has("BASE_URL") {
        let wanted = group.fields.values().next().map(|(n, _)| n.as_str()).unwrap_or_default();
        let problem =
            format!("{wanted} alone does not make a provider: {} needs an address", group.kind.name);
        let base = format!("{}_BASE_URL", name.to_ascii_uppercase().replace('-', "_"));
        draft.warn(&group.origin(), name, problem, format!("set {base}"));
        return None;
    }
    draft.instances.insert(name.to_owned(), group.origin());
    let kind = catalog().find(&provider_path(name, "type"))?;
    draft.set(provider_path(name, "type"), kind, json!(group.kind.name), group.origin());
    Some(name.to_owned())
}

/// Puts a group's values over an instance: the environment wins.
fn overlay(draft: &mut Draft<'_>, instance: &str, group: &Group<'_>) {
    let mut keys: Vec<(String, Origin)> = Vec::new();
    for (field, (name, variable)) in &group.fields {
        let field_path = match field {
            Field::Setting(index) => {
                field_setting(*index).1.path.trim_start_matches("providers.*.").to_owned()
            }
            _ => "api_key".to_owned(),
        };
        let text = match expand_variable(variable, &draft.environment) {
            Ok(text) => text,
            Err(Gap::Unset(unset)) if field_path == "base_url" || matches!(field, Field::Key(_)) => {
                unresolved(draft, instance, &field_path, unset, &variable.origin);
                continue;
            }
            Err(gap) => {
                broken(draft, name, variable, gap);
                continue;
            }
        };
        match field {
            Field::Key(_) if text.text.trim().is_empty() => {
                draft.error(
                    &variable.origin,
                    name,
                    "the reference leads to an empty key",
                    "put the key where the reference points",
                );
            }
            Field::Key(_) => keys.push((text.text, variable.origin.clone())),
            Field::Setting(index) => {
                let setting = field_setting(*index).1;
                let before = draft.findings.len();
                draft.put(provider_path(instance, &field_path), setting, &text, variable.origin.clone());
                draft.findings[before..].iter_mut().for_each(|f| f.setting.clone_from(name));
                draft.unresolved.retain(|(i, f), _| !(i == instance && *f == field_path));
            }
            Field::PriceCap | Field::ApiVersion => {
                let leaf =
                    if *field == Field::PriceCap { "model_filter.max_price_per_mtok" } else { "api_version" };
                if let Some(known) = known::at(&provider_path(instance, leaf)) {
                    let weight: Weight = known.weigh_text(&text.text);
                    draft.note_unbuilt(known, weight, name, &text.text, &variable.origin);
                }
            }
        }
    }
    put_keys(draft, instance, keys);
}

/// The environment's keys replace those of the file, all of them.
fn put_keys(draft: &mut Draft<'_>, instance: &str, keys: Vec<(String, Origin)>) {
    let Some(((first, origin), more)) = keys.split_first() else { return };
    let (one, many) = (provider_path(instance, "api_key"), provider_path(instance, "api_keys"));
    let (Some(one_setting), Some(many_setting)) = (catalog().find(&one), catalog().find(&many)) else {
        return;
    };
    draft.leaves.remove(&many);
    draft.unresolved.remove(&(instance.to_owned(), "api_key"));
    draft.set(one, one_setting, json!(first), origin.clone());
    if let Some((_, origin)) = more.first() {
        let texts: Vec<Value> = more.iter().map(|(text, _)| json!(text)).collect();
        draft.set(many, many_setting, Value::Array(texts), origin.clone());
    }
}

/// A placeholder in a variable: what the file says stands, else the provider lacks it.
fn unresolved(draft: &mut Draft<'_>, instance: &str, field: &str, unset: String, origin: &Origin) {
    if draft.leaves.contains_key(&provider_path(instance, field)) {
        return;
    }
    let field = if field == "base_url" { "base_url" } else { "api_key" };
    draft.unresolved.insert((instance.to_owned(), field), (unset, origin.clone()));
}
