//! Contexts: which chain, which market, which key. One YAML file in the user's configuration folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use manifests::order::Address;
use market::deploy::AddressBook;
use market::wallet::Wallet;
use serde::{Deserialize, Serialize};

use crate::cli::{AddContext, ContextVerb, InContext};
use crate::exit::Ending;
use crate::output;
use crate::state::{in_home, write_atomically};

/// One context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    pub(crate) rpc: String,
    pub(crate) chain_id: u64,
    pub(crate) market: Address,
    pub(crate) keystore: PathBuf,
    pub(crate) password_file: PathBuf,
    /// What names of another network mean here.
    #[serde(default)]
    pub(crate) mapping: Mapping,
}

/// Tables from the words of another network to those of this one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Mapping {
    /// Requirements: auditors by name, attributes as `key=value`; an empty text for what is met by being here.
    pub(crate) translate: BTreeMap<String, String>,
    /// Dollars for a million of a currency.
    pub(crate) exchange_rates: BTreeMap<String, String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Contexts {
    current: Option<String>,
    contexts: BTreeMap<String, Context>,
}

fn file() -> anyhow::Result<PathBuf> {
    Ok(in_home("XDG_CONFIG_HOME", ".config")?.join("berth/contexts.yaml"))
}

impl Contexts {
    fn load() -> anyhow::Result<Self> {
        let path = file()?;
        match std::fs::read_to_string(&path) {
            Ok(text) => serde_yaml::from_str(&text)
                .map_err(|error| Ending::error(Ending::USAGE, format!("{}: {error}", path.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
        }
    }

    fn save(&self) -> anyhow::Result<()> {
        let text = serde_yaml::to_string(self).context("failed to write the contexts as YAML")?;
        write_atomically(&file()?, text.as_bytes())
    }

    fn get(&self, name: &str) -> anyhow::Result<&Context> {
        self.contexts.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "there are none".to_owned() } else { known.join(", ") };
            Ending::error(Ending::NOT_FOUND, format!("there is no context \"{name}\" (known: {known})"))
        })
    }
}

/// The context that a verb works in, with its name.
pub(crate) fn chosen(wanted: &InContext) -> anyhow::Result<(String, Context)> {
    let contexts = Contexts::load()?;
    let name = wanted.context.clone().or_else(|| contexts.current.clone()).ok_or_else(|| {
        Ending::error(
            Ending::USAGE,
            "there is no context yet: add one with `berth context add NAME --rpc URL --chain-id N --market 0x… \
             --keystore FILE --password-file FILE`",
        )
    })?;
    let context = contexts.get(&name)?.clone();
    Ok((name, context))
}

/// The mapping tables, where a context is there to have them.
pub(crate) fn mapping(wanted: &InContext) -> anyhow::Result<Mapping> {
    let contexts = Contexts::load()?;
    match wanted.context.as_ref().or(contexts.current.as_ref()) {
        Some(name) => Ok(contexts.get(name)?.mapping.clone()),
        None => Ok(Mapping::default()),
    }
}

pub(crate) fn run(verb: ContextVerb) -> anyhow::Result<()> {
    let mut contexts = Contexts::load()?;
    match verb {
        ContextVerb::Add(add) => {
            let (name, context) = add_context(add)?;
            let wallet = Wallet::open(&context.keystore, &context.password_file)?;
            contexts.current.get_or_insert_with(|| name.clone());
            contexts.contexts.insert(name.clone(), context);
            contexts.save()?;
            output::progress(format_args!("context {name} works with key {}", wallet.address()));
            Ok(())
        }
        ContextVerb::Use { name } => {
            contexts.get(&name)?;
            contexts.current = Some(name);
            contexts.save()
        }
        ContextVerb::List => {
            let rows = contexts.contexts.iter().map(|(name, context)| {
                let star = if contexts.current.as_ref() == Some(name) { "*" } else { "" };
                let endpoint = endpoint(context);
                vec![
                    star.to_owned(),
                    name.clone(),
                    context.chain_id.to_string(),
                    endpoint,
                    context.market.to_string(),
                ]
            });
            output::table(&["", "NAME", "CHAIN", "RPC", "MARKET"], rows);
            Ok(())
        }
        ContextVerb::Show { name } => {
            let name = name.or_else(|| contexts.current.clone());
            let name = name.ok_or_else(|| Ending::error(Ending::NOT_FOUND, "there is no context yet"))?;
            let mut context = contexts.get(&name)?.clone();
            // Paths of public endpoints hold access keys.
            context.rpc = endpoint(&context);
            output::result(
                serde_yaml::to_string(&context).context("failed to write the context as YAML")?.trim_end(),
            );
            Ok(())
        }
    }
}

fn endpoint(context: &Context) -> String {
    market::rpc::Rpc::new(&context.rpc).map_or_else(|_| "not a URL".to_owned(), |rpc| rpc.endpoint())
}

fn add_context(add: AddContext) -> anyhow::Result<(String, Context)> {
    let AddContext {
        name,
        rpc,
        addresses,
        chain_id,
        market,
        keystore,
        password_file,
        new_key,
        translate,
        exchange_rate,
    } = add;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        let sentence = "a context's name is made of letters, digits, dots, dashes and underscores";
        return Err(Ending::error(Ending::USAGE, sentence));
    }
    market::rpc::Rpc::new(&rpc).map_err(|error| Ending::error(Ending::USAGE, error.to_string()))?;
    let (chain_id, market) = match (addresses, chain_id, market) {
        (Some(file), ..) => {
            let book =
                AddressBook::load(&file).map_err(|error| Ending::error(Ending::USAGE, error.to_string()))?;
            (book.chain_id, book.contracts().market)
        }
        (None, Some(chain_id), Some(market)) => (chain_id, market),
        (None, ..) => {
            return Err(Ending::error(Ending::USAGE, "name --addresses, or --chain-id and --market"));
        }
    };
    let mapping = Mapping {
        translate: translate.into_iter().collect(),
        exchange_rates: exchange_rate.into_iter().collect(),
    };
    for (denom, dollars) in &mapping.exchange_rates {
        crate::document::exchange_rate(denom, dollars)?;
    }
    if new_key {
        Wallet::create(&keystore, &password_file)?;
    }
    let keystore = absolute(&keystore)?;
    let password_file = absolute(&password_file)?;
    Ok((name, Context { rpc, chain_id, market, keystore, password_file, mapping }))
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).map_err(|error| anyhow!("{}: {error}", path.display()))
}
