//! What stands on the chain before anybody trades: the contracts, money in the accounts, and the provider's record.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use manifests::money::Amount;
use manifests::order::Hash;
use market::Chain;
use market::call::Call;
use market::deploy::Plan;
use market::sender::{MemoryJournal, Outcome, Sender, Settings};
use market::wallet::Wallet;

use crate::access::Access;
use crate::accounts::Account;
use crate::chain::Anvil;

/// The addresses file, in the folder of the story.
pub const ADDRESSES: &str = "addresses.json";
const COINS_FOR_FEES: u64 = 1_000;
const DOLLAR: u128 = 1_000_000;
/// What each tenant has at first.
pub const TENANTS_MONEY: Amount = Amount(10_000 * DOLLAR);
const STAKE: Amount = Amount(5_000 * DOLLAR);

/// The keys of those who take part.
#[derive(Clone, Debug)]
pub struct Accounts {
    /// Deploys the contracts, governs them and receives the market's fees.
    pub deployer: Account,
    /// The provider's cold key: registers, and is the provider's name.
    pub owner: Account,
    /// The provider's daily key: bids, closes, withdraws.
    pub operator: Account,
    /// Receives what the provider earns.
    pub payout: Account,
    /// Those who post orders.
    pub tenants: Vec<Account>,
}

impl Accounts {
    /// Makes all keys at once, each on a thread of its own: encrypting a key is slow on purpose.
    ///
    /// # Errors
    /// When a key's files cannot be written.
    pub fn create(folder: &Path) -> Result<Self> {
        let names = ["deployer", "owner", "operator", "payout", "tenant-a", "tenant-b", "tenant-c"];
        let made: Vec<Result<Account>> = std::thread::scope(|scope| {
            let making: Vec<_> = names.map(|name| scope.spawn(move || Account::create(folder, name))).into();
            making.into_iter().map(|thread| thread.join().expect("making a key does not panic")).collect()
        });
        let mut made = made.into_iter().collect::<Result<Vec<_>>>()?.into_iter();
        let mut next = || made.next().context("a key is missing");
        let (deployer, owner, operator, payout) = (next()?, next()?, next()?, next()?);
        Ok(Self { deployer, owner, operator, payout, tenants: made.collect() })
    }

    fn all(&self) -> impl Iterator<Item = &Account> {
        [&self.deployer, &self.owner, &self.operator, &self.payout].into_iter().chain(&self.tenants)
    }
}

/// Deploys the contracts as any market is, writes their addresses file into `folder`, and gives everybody coins for fees and the tenants and the owner money to spend.
///
/// # Errors
/// When a transaction does not go through.
pub async fn deploy(access: &Access, accounts: &Accounts, folder: &Path) -> Result<Chain> {
    let anvil = Anvil::at(&access.rpc);
    for account in accounts.all() {
        anvil.fund(&account.address.to_string(), COINS_FOR_FEES).await?;
    }
    let deployer = accounts.deployer.wallet()?;
    let plan = Plan::for_tests(deployer.address());
    let book = market::deploy::deploy(&access.rpc, access.chain_id, &deployer, plan).await;
    let book = book.context("failed to deploy the contracts")?;
    book.save(&folder.join(ADDRESSES))?;
    let chain = book.connect(&access.rpc).await.context("the market is not where it was deployed")?;
    let sender = sender(chain.clone(), deployer);
    let money = accounts.tenants.iter().map(|tenant| (tenant.address, TENANTS_MONEY));
    for (to, amount) in money.chain([(accounts.owner.address, STAKE)]) {
        send(&sender, &format!("mint for {to}"), &Call::MintTestToken { to, amount }).await?;
    }
    Ok(chain)
}

/// Makes the gateway's key in `tls_folder` and registers the provider with it.
///
/// # Errors
/// When a file cannot be written or a transaction does not go through.
pub async fn register_provider(
    chain: &Chain,
    accounts: &Accounts,
    uri: String,
    tls_folder: &Path,
) -> Result<()> {
    let spki_hash = make_gateway_key(tls_folder)?;
    let sender = sender(chain.clone(), accounts.owner.wallet()?);
    send(&sender, "let the registry take the stake", &Call::ApproveRegistry { amount: STAKE }).await?;
    let register = Call::Register {
        operator: accounts.operator.address,
        payout: accounts.payout.address,
        uri,
        spki_hash,
        stake: STAKE,
    };
    send(&sender, "register the provider", &register).await
}

/// The one sender of a key that nobody else sends with.
#[must_use]
pub fn sender(chain: Chain, wallet: Wallet) -> Sender<MemoryJournal> {
    Sender::new(chain, wallet, MemoryJournal::default(), Settings::default())
}

/// Sends a call and waits until it has taken effect.
///
/// # Errors
/// When it is refused, now or when it is mined.
pub async fn send(sender: &Sender<MemoryJournal>, what: &str, call: &Call) -> Result<()> {
    match sender.send(what, call).await.with_context(|| format!("failed to {what}"))? {
        Outcome::Mined { .. } => Ok(()),
        Outcome::Reverted { error, .. } => bail!("failed to {what}: the contract refused it: {error}"),
    }
}

/// The gateway makes its key when there is none; here it is made before, because the registry wants its hash.
fn make_gateway_key(folder: &Path) -> Result<Hash> {
    let mut builder = fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("failed to make {}", folder.display()))?;
    let key = rcgen::KeyPair::generate().context("failed to make the gateway's key")?;
    let path: PathBuf = folder.join("tls.key");
    let file = fs::File::options().write(true).create_new(true).mode(0o600).open(&path);
    let written = file.and_then(|mut file| file.write_all(key.serialize_pem().as_bytes()));
    written.with_context(|| format!("failed to write {}", path.display()))?;
    let certificate =
        rcgen::CertificateParams::default().self_signed(&key).context("failed to sign with the key")?;
    market::tls::spki_hash(certificate.der()).context("failed to hash the gateway's key")
}
