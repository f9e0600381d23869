//! The bench's device plugin: it announces the GPUs of a fake NVML script to the kubelet, so that what the agent prices is
//! what the kubelet allocates. The kubelet chooses among them; only the silicon is missing.
//!
//! It behaves as the vendor's plugin does where tests can see it: whole GPUs by their UUIDs, unhealthy on an Xid of the GPU's
//! own, `NVIDIA_VISIBLE_DEVICES` in the container. Unlike the vendor's it takes a GPU back when the script calls it healthy.

use std::fs;
use std::future::Future;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fake_nvml::{Health, ScriptFile};
use futures::{Stream, stream};
use provider::inventory::gpus::is_fault_of_a_program;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};

use v1beta1::device_plugin_server::{DevicePlugin, DevicePluginServer};
use v1beta1::registration_client::RegistrationClient;
use v1beta1::{
    AllocateRequest, AllocateResponse, ContainerAllocateResponse, Device, DevicePluginOptions, Empty,
    ListAndWatchResponse, PreStartContainerRequest, PreStartContainerResponse, PreferredAllocationRequest,
    PreferredAllocationResponse, RegisterRequest,
};

#[expect(
    unreachable_pub,
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
mod v1beta1;

/// The folder in which the kubelet meets its plugins; the kubelet knows no other.
pub const SOCKETS: &str = "/var/lib/kubelet/device-plugins";

/// The resource under which whole GPUs are asked for.
pub const RESOURCE: &str = "nvidia.com/gpu";

const KUBELET: &str = "kubelet.sock";
const API: &str = "v1beta1";
const VISIBLE: &str = "NVIDIA_VISIBLE_DEVICES";
const REGISTER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the script and the kubelet's socket are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Serves the script's GPUs to the kubelet until `shutdown` resolves: registers, announces every change, and registers again
/// when the kubelet was started anew. What fails is told on standard error and tried again.
///
/// # Errors
/// There is no good script to begin with.
pub async fn run(
    script: &Path,
    sockets: &Path,
    resource: &str,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let mut script = ScriptFile::new(script.to_owned());
    if !script.refresh() {
        bail!("there is no script of a machine to announce GPUs from");
    }
    let serve = async {
        let mut told = None;
        loop {
            match serve(&mut script, sockets, resource).await {
                Ok(()) => told = None,
                Err(error) => {
                    let error = format!("{error:#}");
                    if told.as_ref() != Some(&error) {
                        eprintln!("device plugin: {error}");
                    }
                    told = Some(error);
                    sleep(LOOK).await;
                }
            }
        }
    };
    tokio::select! {
        () = shutdown => Ok(()),
        never = serve => never,
    }
}

/// Serves one kubelet, until its socket is another one: a kubelet that starts sweeps the folder, our socket with it, and then
/// listens anew.
async fn serve(script: &mut ScriptFile, sockets: &Path, resource: &str) -> Result<()> {
    let kubelet = sockets.join(KUBELET);
    let began =
        identity(&kubelet).with_context(|| format!("waiting for the kubelet at {}", kubelet.display()))?;
    let endpoint = format!("{}.sock", resource.replace('/', "-"));
    let own = sockets.join(&endpoint);
    match fs::remove_file(&own) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("failed to remove the old socket {}", own.display()));
        }
        _ => {}
    }
    let listener =
        UnixListener::bind(&own).with_context(|| format!("failed to listen at {}", own.display()))?;
    // The sender goes when this function ends, and with it every stream that it feeds.
    let (announce, devices) = watch::channel(announced(script));
    let server = Server::builder()
        .add_service(DevicePluginServer::new(Plugin { devices }))
        .serve_with_incoming(UnixListenerStream::new(listener));
    let mut tasks = JoinSet::new();
    tasks.spawn(server);
    register(&kubelet, endpoint, resource).await?;
    while identity(&kubelet).ok() == Some(began) {
        if script.refresh() {
            announce.send_if_modified(|devices| {
                let now = announced(script);
                let changed = *devices != now;
                *devices = now;
                changed
            });
        }
        sleep(LOOK).await;
    }
    Ok(())
}

/// Which file this is: a socket made anew is another one.
fn identity(path: &Path) -> io::Result<(u64, i64, i64)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
}

async fn register(kubelet: &Path, endpoint: String, resource: &str) -> Result<()> {
    let failed = || format!("failed to register {resource} with the kubelet at {}", kubelet.display());
    let path = kubelet.to_str().with_context(failed)?;
    let channel = Endpoint::try_from(format!("unix://{path}"))?.connect_timeout(REGISTER_TIMEOUT);
    let registration = async {
        let mut client = RegistrationClient::new(channel.connect().await?);
        let options =
            DevicePluginOptions { pre_start_required: false, get_preferred_allocation_available: false };
        let request = RegisterRequest {
            version: API.to_owned(),
            endpoint,
            resource_name: resource.to_owned(),
            options: Some(options),
        };
        client.register(request).await?;
        anyhow::Ok(())
    };
    timeout(REGISTER_TIMEOUT, registration).await.with_context(failed)?.with_context(failed)
}

/// The whole GPUs of the machine; none where no driver answers.
fn announced(script: &ScriptFile) -> Vec<Device> {
    let devices = script.script().filter(|script| script.init == 0).map(|script| &script.devices);
    let whole =
        devices.into_iter().flatten().filter(|device| !device.mig.as_ref().is_some_and(|mig| mig.enabled));
    let announced = whole.map(|device| {
        let healthy = match device.health {
            // What NVML answers to others, the plugin does not ask.
            Health::Healthy | Health::Answers(_) => true,
            Health::Xid(xid) => is_fault_of_a_program(xid),
            Health::Lost => false,
        };
        let health = if healthy { "Healthy" } else { "Unhealthy" };
        Device { id: device.uuid.clone(), health: health.to_owned(), topology: None }
    });
    announced.collect()
}

struct Plugin {
    devices: watch::Receiver<Vec<Device>>,
}

#[tonic::async_trait]
impl DevicePlugin for Plugin {
    type ListAndWatchStream = Pin<Box<dyn Stream<Item = Result<ListAndWatchResponse, Status>> + Send>>;

    async fn get_device_plugin_options(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<DevicePluginOptions>, Status> {
        Ok(Response::new(DevicePluginOptions::default()))
    }

    async fn list_and_watch(&self, _: Request<Empty>) -> Result<Response<Self::ListAndWatchStream>, Status> {
        let mut devices = self.devices.clone();
        devices.mark_changed();
        let lists = stream::unfold(devices, |mut devices| async {
            devices.changed().await.ok()?;
            let list = devices.borrow_and_update().clone();
            Some((Ok(ListAndWatchResponse { devices: list }), devices))
        });
        Ok(Response::new(Box::pin(lists)))
    }

    async fn allocate(
        &self,
        request: Request<AllocateRequest>,
    ) -> Result<Response<AllocateResponse>, Status> {
        let known = self.devices.borrow().clone();
        let mut container_responses = Vec::new();
        for container in request.into_inner().container_requests {
            if let Some(unknown) =
                container.devices_ids.iter().find(|id| !known.iter().any(|device| device.id == **id))
            {
                return Err(Status::invalid_argument(format!("there is no GPU {unknown}")));
            }
            let envs = [(VISIBLE.to_owned(), container.devices_ids.join(","))].into();
            container_responses
                .push(ContainerAllocateResponse { envs, ..ContainerAllocateResponse::default() });
        }
        Ok(Response::new(AllocateResponse { container_responses }))
    }

    async fn get_preferred_allocation(
        &self,
        _: Request<PreferredAllocationRequest>,
    ) -> Result<Response<PreferredAllocationResponse>, Status> {
        Err(Status::unimplemented("the options say that there is no preference"))
    }

    async fn pre_start_container(
        &self,
        _: Request<PreStartContainerRequest>,
    ) -> Result<Response<PreStartContainerResponse>, Status> {
        Err(Status::unimplemented("the options say that nothing is to be done before a start"))
    }
}

#[cfg(test)]
mod tests {
    use super::v1beta1::ContainerAllocateRequest;
    use super::v1beta1::device_plugin_client::DevicePluginClient;
    use super::v1beta1::registration_server::{Registration, RegistrationServer};
    use super::*;
    use fake_nvml::Script;
    use fake_nvml::script::Mig;
    use tokio::sync::{mpsc, oneshot};
    use tokio::task::JoinHandle;
    use tonic::transport::Channel;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// The kubelet's side of the registration.
    struct Kubelet(mpsc::UnboundedSender<RegisterRequest>);

    #[tonic::async_trait]
    impl Registration for Kubelet {
        async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<Empty>, Status> {
            self.0.send(request.into_inner()).map_err(|_| Status::unavailable("the test is over"))?;
            Ok(Response::new(Empty {}))
        }
    }

    struct Node {
        folder: tempfile::TempDir,
        script: Script,
        registered: mpsc::UnboundedReceiver<RegisterRequest>,
        register: mpsc::UnboundedSender<RegisterRequest>,
        kubelet: JoinSet<()>,
        shutdown: Option<oneshot::Sender<()>>,
        plugin: JoinHandle<Result<()>>,
    }

    impl Node {
        fn start(change: impl FnOnce(&mut Script)) -> Self {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let mut script = Script::four_h100();
            change(&mut script);
            let file = folder.path().join("machine.json");
            script.write(&file).expect("the folder is ours");
            let (register, registered) = mpsc::unbounded_channel();
            let (shutdown, asked) = oneshot::channel();
            let sockets = folder.path().to_owned();
            let plugin = async move { run(&file, &sockets, RESOURCE, async { drop(asked.await) }).await };
            let mut node = Self {
                folder,
                script,
                registered,
                register,
                kubelet: JoinSet::new(),
                shutdown: Some(shutdown),
                plugin: tokio::spawn(plugin),
            };
            node.start_kubelet();
            node
        }

        /// As the kubelet does it: sweep the folder, listen anew.
        fn start_kubelet(&mut self) {
            self.kubelet = JoinSet::new();
            for entry in fs::read_dir(self.folder.path()).expect("the folder is ours") {
                let path = entry.expect("the folder is ours").path();
                if path.extension().is_some_and(|extension| extension == "sock") {
                    fs::remove_file(path).expect("the folder is ours");
                }
            }
            let listener =
                UnixListener::bind(self.folder.path().join(KUBELET)).expect("the old socket is gone");
            let kubelet = Kubelet(self.register.clone());
            self.kubelet.spawn(async {
                let server = Server::builder().add_service(RegistrationServer::new(kubelet));
                server
                    .serve_with_incoming(UnixListenerStream::new(listener))
                    .await
                    .expect("the kubelet serves");
            });
        }

        fn change(&mut self, change: impl FnOnce(&mut Script)) {
            change(&mut self.script);
            self.script.write(&self.folder.path().join("machine.json")).expect("the folder is ours");
        }

        /// Connects to the plugin that registers next.
        async fn plugin(&mut self) -> DevicePluginClient<Channel> {
            let request = timeout(PATIENCE, self.registered.recv()).await.expect("a plugin registers");
            let request = request.expect("the kubelet runs");
            assert_eq!((request.version.as_str(), request.resource_name.as_str()), (API, RESOURCE));
            let socket = self.folder.path().join(request.endpoint);
            let endpoint = Endpoint::try_from(format!("unix://{}", socket.display())).expect("a path");
            DevicePluginClient::new(endpoint.connect().await.expect("the plugin listens before it registers"))
        }

        async fn stop(mut self) {
            self.shutdown.take();
            let ended = timeout(PATIENCE, &mut self.plugin).await.expect("the plugin stops");
            ended.expect("no panic").expect("no error");
        }
    }

    async fn lists(plugin: &mut DevicePluginClient<Channel>) -> tonic::Streaming<ListAndWatchResponse> {
        plugin.list_and_watch(Empty {}).await.expect("the plugin lists").into_inner()
    }

    async fn next(lists: &mut tonic::Streaming<ListAndWatchResponse>) -> Vec<String> {
        let list = timeout(PATIENCE, lists.message()).await.expect("a list comes").expect("no error");
        list.expect("the list goes on").devices.into_iter().map(|device| device.health).collect()
    }

    #[tokio::test]
    async fn gpus_of_the_script_are_announced_with_every_change_of_their_health() {
        let mut node = Node::start(|_| {});
        let mut plugin = node.plugin().await;
        let options = plugin.get_device_plugin_options(Empty {}).await.unwrap().into_inner();
        assert_eq!(options, DevicePluginOptions::default());
        let mut lists = lists(&mut plugin).await;
        let first = lists.message().await.unwrap().unwrap();
        let uuids: Vec<&str> = first.devices.iter().map(|device| device.id.as_str()).collect();
        let expected: Vec<&str> = node.script.devices.iter().map(|device| device.uuid.as_str()).collect();
        assert_eq!(uuids, expected);
        assert!(first.devices.iter().all(|device| device.health == "Healthy"));

        let (well, ill) = ("Healthy", "Unhealthy");
        node.change(|script| script.devices[1].health = Health::Lost);
        assert_eq!(next(&mut lists).await, [well, ill, well, well]);
        node.change(|script| {
            script.devices[0].health = Health::Xid(31);
            script.devices[3].health = Health::Xid(79);
        });
        assert_eq!(next(&mut lists).await, [well, ill, well, ill]);
        node.change(|script| script.init = 9);
        assert_eq!(next(&mut lists).await, [""; 0]);
        node.change(|script| {
            script.init = 0;
            script.devices.iter_mut().for_each(|device| device.health = Health::Healthy);
        });
        assert_eq!(next(&mut lists).await, [well; 4]);
        node.stop().await;
    }

    #[tokio::test]
    async fn container_is_told_which_gpus_it_was_given() {
        let mut node = Node::start(|script| {
            script.devices[3].mig = Some(Mig { enabled: true, slices: Vec::new() });
        });
        let mut plugin = node.plugin().await;
        let uuid = |index: usize| node.script.devices[index].uuid.clone();
        let ask = |ids: &[String]| ContainerAllocateRequest { devices_ids: ids.to_vec() };
        let request = AllocateRequest { container_requests: vec![ask(&[uuid(0), uuid(2)]), ask(&[uuid(1)])] };
        let answer = plugin.allocate(request).await.unwrap().into_inner().container_responses;
        let given: Vec<&str> = answer.iter().map(|container| container.envs[VISIBLE].as_str()).collect();
        assert_eq!(given, [format!("{},{}", uuid(0), uuid(2)), uuid(1)]);

        let sliced = AllocateRequest { container_requests: vec![ask(&[uuid(3)])] };
        let refusal = plugin.allocate(sliced).await.unwrap_err();
        assert_eq!(refusal.code(), tonic::Code::InvalidArgument, "a GPU in slices is not given away whole");
        node.stop().await;
    }

    #[tokio::test]
    async fn kubelet_that_was_started_anew_is_registered_with_again() {
        let mut node = Node::start(|_| {});
        let mut lists_before = lists(&mut node.plugin().await).await;
        assert_eq!(next(&mut lists_before).await.len(), 4);
        node.start_kubelet();
        node.change(|script| script.devices.truncate(2));
        let mut lists_after = lists(&mut node.plugin().await).await;
        assert_eq!(next(&mut lists_after).await.len(), 2);
        let end = timeout(PATIENCE, async { while let Ok(Some(_)) = lists_before.message().await {} });
        end.await.expect("the list for the old kubelet ends");
        node.stop().await;
    }

    #[tokio::test]
    async fn without_a_script_there_is_nothing_to_announce() {
        let folder = tempfile::tempdir().unwrap();
        let never = std::future::pending();
        let error = run(&folder.path().join("none.json"), folder.path(), RESOURCE, never).await.unwrap_err();
        assert!(error.to_string().contains("no script"), "{error}");
    }
}
