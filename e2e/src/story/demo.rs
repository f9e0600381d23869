//! One whole lease, told to a person while it happens, and checked while it is told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use manifests::money::{Amount, RATE_SCALE, Rate};
use manifests::objects::labels::{LEASE, PROVIDER};
use manifests::order::LeaseId;
use market::At;
use market::reader::OrderState;

use super::seller::{Place, Seller};
use super::tenant::{NO_BIDS, Tenant};
use super::world::World;
use crate::access::Access;
use crate::addresses::NODE_NAME;
use crate::images::{self, Maker};
use crate::report::{Timeline, table};
use crate::tools::Tools;
use crate::wait::until;
use crate::{cluster, visitor, workspace};

/// A real document that somebody else wrote, relative to the checkout, with the image it names and the port it expects.
const REAL_DOCUMENT: (&str, &str, u16) =
    ("../shared/fixtures/awesome/minesweeper__deploy.yaml", "creepto/minesweeper", 3000);
/// How long a step may take before the story is given up.
const PATIENCE: Duration = Duration::from_secs(90);

/// Tells the story on a market of its own, whose world is called `name`, with a provider that runs at `place`.
///
/// # Errors
/// When something does not happen that should.
pub async fn tell(tools: Option<&Tools>, name: &str, place: Place) -> Result<()> {
    let mut timeline = Timeline::start();
    let access = place.access(Access::here()?)?;
    if access.is_a_bench() {
        World::clear().await?;
    }
    let world = World::on(access, name).await?;
    let contracts = world.chain.contracts();
    timeline.step(format_args!("contracts deployed, a provider registered: market at {}", contracts.market));
    let mut stage = Stage { world: &world, timeline: &mut timeline };
    stage.play(tools, place).await?;
    timeline.end("told");
    Ok(())
}

struct Stage<'a> {
    world: &'a World,
    timeline: &'a mut Timeline,
}

/// A lease that runs, with who pays for it.
struct Running<'a> {
    tenant: &'a Tenant,
    name: &'static str,
    lease: LeaseId,
    rate: Rate,
}

impl Stage<'_> {
    async fn play(&mut self, tools: Option<&Tools>, place: Place) -> Result<()> {
        let client = cluster::client(&self.world.access.kubeconfig).await?;
        let ours = self.world.access.is_a_bench();
        let mut provider = place.start(self.world, self.timeline).await?;
        let offer = if ours {
            let label = gpus_offered(&client, &mut provider).await?;
            format!("{NODE_NAME} offers {label}, $1980 a month each")
        } else {
            "no agent runs on these nodes, so they offer no GPUs".to_owned()
        };
        self.timeline.step(format_args!("provider up: {offer}"));

        let (alice, bob, carol) =
            tokio::try_join!(self.world.tenant(0), self.world.tenant(1), self.world.tenant(2))?;
        self.timeline.step("three tenants with money");

        let web = self.up(&alice, "web", &document("web.yaml")).await?;
        let text = provider.explain(web.lease).await?;
        self.timeline.step("the provider explains its bid:");
        self.timeline.detail(text.trim_end());
        let page =
            visitor::page(&self.world.access.way_in.address, "hello.example.test", "/", PATIENCE).await?;
        ensure!(page.contains("Hello from a datacenter with room to spare"), "another page answers:\n{page}");
        self.timeline.step("GET http://hello.example.test/ through Envoy:");
        self.timeline.detail(page.trim_end());
        let logs = alice.berth(&["logs", "web", "--tail", "5"]).await?.well()?;
        ensure!(logs.contains("GET / 200"), "the logs do not tell of the request:\n{logs}");
        self.timeline.step("berth logs web --tail 5:");
        self.timeline.detail(logs.trim_end());

        let mut leases = vec![web];
        if ours {
            let gpu = self.up(&bob, "gpu", &document("gpu.yaml")).await?;
            let held = self.gpu_of(&bob, "gpu").await?;
            self.timeline
                .step(format_args!("the container was given {held}, and berth status shows the same"));
            leases.push(gpu);
        } else {
            self.timeline
                .step("a lease with a GPU would run here; nobody reads this cluster's GPUs: LEFT OUT");
        }
        self.too_large(&carol, &provider).await?;
        leases.extend(self.real_document(tools, &carol).await?);

        self.accrued(&leases).await?;
        self.withdrawn_twice(&leases).await?;
        self.close(&client, &leases, &offer).await?;
        self.balance(&leases).await?;
        provider.retire().await
    }

    /// Brings a document up, each thing that `berth` tells as a line of its own.
    async fn up<'t>(
        &mut self,
        tenant: &'t Tenant,
        name: &'static str,
        document: &Path,
    ) -> Result<Running<'t>> {
        let who = &tenant.account.name;
        self.timeline.step(format_args!("{who}: berth up {} --name {name}", file_name(document)));
        let timeline = &mut *self.timeline;
        let said =
            tenant.up_telling(document, name, &["--deposit", "50"], |line| timeline.step(line)).await?;
        self.timeline.detail(said.well()?.trim_end());
        let lease = tenant.lease(name).await?;
        let record =
            self.world.chain.lease(lease, At::Latest).await?.context("the chain knows no such lease")?;
        Ok(Running { tenant, name, lease, rate: record.rate })
    }

    /// The GPU that the container of a lease reports, which must be the one that its status shows.
    async fn gpu_of(&self, tenant: &Tenant, name: &str) -> Result<String> {
        let logs = tenant.berth(&["logs", name]).await?.well()?;
        let given = logs
            .lines()
            .find_map(|line| line.split_once("NVIDIA_VISIBLE_DEVICES=").map(|(_, uuid)| uuid.trim()));
        let given =
            given.with_context(|| format!("the container does not tell its GPU:\n{logs}"))?.to_owned();
        until("the status to show the GPU", PATIENCE, async || {
            let status = tenant.status(name).await?;
            let shown: Vec<&String> =
                status.services.iter().flat_map(|service| &service.pods).flat_map(|pod| &pod.gpus).collect();
            ensure!(shown == [&given], "it shows {shown:?}, not {given}");
            Ok(())
        })
        .await?;
        Ok(given)
    }

    /// An order that no node can hold: nobody bids, the tenant hears why, and gets everything back.
    async fn too_large(&mut self, tenant: &Tenant, provider: &Seller) -> Result<()> {
        let token = |at| self.world.chain.token_balance(tenant.account.address, at);
        let before = token(At::Latest).await?;
        let said =
            tenant.up(&document("eight-gpus.yaml"), "large", &["--wait", "5s", "--deposit", "50"]).await?;
        ensure!(said.code == NO_BIDS, "berth ended with {}, not {NO_BIDS}:\n{}", said.code, said.telling);
        let reason =
            if self.world.access.is_a_bench() { "resources_gpu_count" } else { "resources_gpu_model" };
        ensure!(said.telling.contains(reason), "{reason} is not given as the reason:\n{}", said.telling);
        ensure!(token(At::Latest).await? == before, "the deposit did not come back in full");
        self.timeline.step("tenant-c: berth up eight-gpus.yaml: declined, the deposit is back:");
        self.timeline.detail(said.telling.trim_end());
        let ledger = self.world.ledger().await?;
        let order = ledger
            .orders
            .iter()
            .rfind(|order| order.tenant == tenant.account.address)
            .context("no order of the tenant's")?;
        let text = provider.explain(*order).await?;
        self.timeline.step(format_args!("berth-provider explain {order}:"));
        self.timeline.detail(text.trim_end());
        Ok(())
    }

    /// A document as it stands in somebody else's collection, if that is here.
    async fn real_document<'t>(
        &mut self,
        tools: Option<&Tools>,
        tenant: &'t Tenant,
    ) -> Result<Option<Running<'t>>> {
        let (path, image, port) = REAL_DOCUMENT;
        let path = workspace::root().join(path);
        let (true, Some(tools)) = (self.world.access.is_a_bench(), tools) else {
            self.timeline
                .step("a real document would run here; only the bench's registry has its image: LEFT OUT");
            return Ok(None);
        };
        if !path.exists() {
            self.timeline.step("a real document would run here, unmodified; the collection is not beside this checkout: LEFT OUT");
            return Ok(None);
        }
        images::push_stand_in(&Maker::new(tools)?, image, &[port]).await?;
        let real = self.up(tenant, "real", &path).await?;
        let status = tenant.status("real").await?;
        let url = status.services.iter().find_map(|service| service.urls.first()).context("it has no URL")?;
        let host = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let page = visitor::page(&self.world.access.way_in.address, &host, "/", PATIENCE).await?;
        ensure!(page.contains(image), "another page answers:\n{page}");
        self.timeline.step(format_args!("GET {url} through Envoy:"));
        self.timeline.detail(page.trim_end());
        Ok(Some(real))
    }

    /// Ten seconds later: what every lease has earned on chain is its rate times its seconds, to the unit.
    async fn accrued(&mut self, leases: &[Running<'_>]) -> Result<()> {
        let chain = &self.world.chain;
        let later = chain.head().await?.timestamp + 10;
        let head = until("ten seconds of chain time", PATIENCE, async || {
            let head = chain.head().await?;
            ensure!(head.timestamp >= later, "the chain is at {}", head.timestamp);
            Ok(head)
        })
        .await?;
        let ledger = self.world.ledger().await?;
        let mut rows = Vec::new();
        for running in leases {
            let record =
                chain.lease(running.lease, At::Block(head.hash)).await?.context("a lease is gone")?;
            let open = chain.accrued(running.lease, At::Block(head.hash)).await?;
            let seconds = head.timestamp - record.checkpoint;
            let product = running.rate.scaled() * u128::from(seconds);
            ensure!(open.scaled == product, "{} accrued {}, not {product}", running.name, open.scaled);
            rows.push([
                running.name.to_owned(),
                running.rate.scaled().to_string(),
                (head.timestamp - record.started_at).to_string(),
                ledger.paid_by(running.lease).0.to_string(),
                (open.scaled / RATE_SCALE).to_string(),
            ]);
        }
        self.timeline
            .step("ten seconds later, what is earned and not paid yet is rate × seconds, to the unit:");
        table(["lease", "rate (units × 10⁹ a second)", "seconds", "paid (units)", "open (units)"], &rows);
        Ok(())
    }

    async fn withdrawn_twice(&mut self, leases: &[Running<'_>]) -> Result<()> {
        let ledger = until("two withdrawals of every lease", PATIENCE, async || {
            let ledger = self.world.ledger().await?;
            for running in leases {
                let times = ledger.by_lease.iter().filter(|(lease, ..)| *lease == running.lease).count();
                ensure!(times >= 2, "{} was withdrawn {times} times", running.name);
            }
            Ok(ledger)
        })
        .await?;
        self.timeline.step(format_args!("the provider withdrew twice: {} so far", Amount(ledger.paid)));
        Ok(())
    }

    async fn close(&mut self, client: &kube::Client, leases: &[Running<'_>], offer: &str) -> Result<()> {
        for running in leases {
            let said = running.tenant.berth(&["down", running.name]).await?;
            let telling = format!("{}{}", said.telling, said.result);
            said.well()?;
            self.timeline.step(format_args!("{}: berth down {}:", running.tenant.account.name, running.name));
            self.timeline.detail(telling.trim_end());
        }
        let namespaces: Api<Namespace> = Api::all(client.clone());
        until("the namespaces to be gone", PATIENCE, async || {
            let left = namespaces.list(&ListParams::default().labels(LEASE)).await?;
            let ours = left.items.iter().filter(|namespace| is_of(namespace, self.world)).count();
            ensure!(ours == 0, "{ours} are left");
            Ok(())
        })
        .await?;
        self.timeline.step(format_args!("no namespace of a lease is left: {offer}"));
        Ok(())
    }

    /// Where all the money went, once everybody has theirs.
    async fn balance(&mut self, leases: &[Running<'_>]) -> Result<()> {
        let chain = &self.world.chain;
        let ledger = until("every lease to be closed and paid", PATIENCE, async || {
            for running in leases {
                let record = chain.lease(running.lease, At::Latest).await?.context("a lease is gone")?;
                ensure!(matches!(record.state, OrderState::Closed), "{} is {:?}", running.name, record.state);
                let open = chain.accrued(running.lease, At::Latest).await?;
                ensure!(open.net == Amount::ZERO, "{} has {} to collect", running.name, open.net);
            }
            self.world.ledger().await
        })
        .await?;
        let dust = ledger.dust()?;
        ensure!(dust <= ledger.most_dust(), "{dust} units of dust after {} payouts", ledger.payouts);
        ensure!(ledger.held == Amount(dust), "the market holds {} and the dust is {dust} units", ledger.held);
        let earned = chain.token_balance(self.world.accounts.payout.address, At::Latest).await?;
        ensure!(earned == Amount(ledger.paid), "the provider has {earned}, not {}", Amount(ledger.paid));
        self.timeline.step("all money is accounted for (units of a millionth of a dollar):");
        table(
            ["deposits", "refunds", "paid", "fees", "dust", "payouts"],
            &[[ledger.deposits, ledger.refunds, ledger.paid, ledger.fees, dust, ledger.payouts]
                .map(|n| n.to_string())],
        );
        for account in leases.iter().map(|running| running.lease.account()) {
            let left = chain.account(account, At::Latest).await?.context("an account is gone")?;
            ensure!(left.refundable == Amount::ZERO, "{account} still holds {}", left.refundable);
        }
        Ok(())
    }
}

/// Whether a lease's namespace was made by the provider of this world.
fn is_of(namespace: &Namespace, world: &World) -> bool {
    let provider = world.accounts.owner.address.to_string();
    namespace.annotations().get(PROVIDER) == Some(&provider)
}

async fn gpus_offered(client: &kube::Client, provider: &mut Seller) -> Result<String> {
    until("the daemon to label the node with its GPUs", PATIENCE, async || {
        provider.still_works()?;
        gpu_label(client).await
    })
    .await
}

/// The node's label of GPUs and how many the kubelet can allocate.
async fn gpu_label(client: &kube::Client) -> Result<String> {
    let node = Api::<Node>::all(client.clone()).get(NODE_NAME).await?;
    let label =
        node.metadata.labels.unwrap_or_default().remove("berth.dev/gpu").context("there is no label")?;
    let allocatable = node.status.and_then(|status| status.allocatable).unwrap_or_default();
    let count = allocatable.get("nvidia.com/gpu").context("the kubelet knows no GPUs")?;
    ensure!(count.0 != "0", "the kubelet has no GPUs to give");
    Ok(format!("{} × {label}", count.0))
}

fn document(name: &str) -> PathBuf {
    workspace::root().join("e2e/documents").join(name)
}

fn file_name(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}
