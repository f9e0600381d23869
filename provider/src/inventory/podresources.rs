//! Which container holds which GPU, as the kubelet of this machine tells it over its pod-resources socket.
//!
//! A device plugin chooses the devices of a container; this is the only place where the choice is told. It is asked, never
//! guessed: when the kubelet cannot be asked, nothing is known, which is not the same as nothing being held.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde::{Deserialize, Serialize};
use tonic::transport::Endpoint;

use v1::pod_resources_lister_client::PodResourcesListerClient;
use v1::{AllocatableResourcesRequest, ContainerDevices, ListPodResourcesRequest};

#[expect(
    unreachable_pub,
    unused_qualifications,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
#[cfg_attr(test, expect(clippy::allow_attributes, reason = "generated"))]
mod v1;

/// Where the kubelet serves it unless its root folder was moved.
pub const SOCKET: &str = "/var/lib/kubelet/pod-resources/kubelet.sock";

/// The devices that a container holds of one resource.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Allocation {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The container's name.
    pub container: String,
    /// The resource as containers ask for it, such as `nvidia.com/gpu`.
    pub resource: String,
    /// The devices, in order. Two containers with one UUID share it: a GPU cut into time slices.
    pub uuids: Vec<String>,
}

/// The devices that are announced under one resource name, whoever holds them.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Announced {
    /// The resource as containers ask for it, such as `nvidia.com/gpu` or `nvidia.com/mig-1g.10gb`.
    pub resource: String,
    /// The devices that the plugin finds well, in order.
    pub uuids: Vec<String>,
    /// Whether several containers are given one of them: a GPU cut into time slices.
    pub shared: bool,
}

/// What the kubelet tells of GPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Which containers hold which devices.
    pub allocations: Vec<Allocation>,
    /// Under which names devices are announced, by name; `None` when this kubelet does not tell.
    pub announced: Option<Vec<Announced>>,
}

/// Only resources of this vendor are GPUs.
pub(super) const VENDOR: &str = "nvidia.com/";

/// The name under which the vendor's plugin announces time slices, where it is told to rename them.
const SHARED: &str = ".shared";

/// The kubelet of a busy node tells of hundreds of pods.
const LARGEST_ANSWER: usize = 16 << 20;

/// The kubelet takes a hundred calls a second and answers from memory.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the kubelet behind this socket for every container that holds a GPU, and for every GPU that it has to give, in a fixed
/// order.
///
/// # Errors
/// The socket cannot be connected to, or the kubelet does not answer within five seconds or with an error.
pub async fn ask(socket: &Path) -> anyhow::Result<Told> {
    let asked = || format!("failed to ask the kubelet at {} which pods hold GPUs", socket.display());
    let path =
        socket.to_str().with_context(|| format!("the socket's path {} is not a text", socket.display()))?;
    let endpoint = Endpoint::try_from(format!("unix://{path}")).with_context(asked)?;
    let connected = endpoint.connect_timeout(TIMEOUT).timeout(TIMEOUT).connect().await;
    // The layers between say nothing that the cause does not.
    let channel = connected
        .map_err(|error| anyhow!("{}", anyhow::Error::from(error).root_cause()))
        .with_context(asked)?;
    let mut kubelet = PodResourcesListerClient::new(channel).max_decoding_message_size(LARGEST_ANSWER);
    let answer = kubelet.list(ListPodResourcesRequest {}).await.with_context(asked)?;

    // The kubelet lists a resource once for every NUMA node that its devices come from.
    let mut held: BTreeMap<[String; 4], Vec<String>> = BTreeMap::new();
    for pod in answer.into_inner().pod_resources {
        for container in pod.containers {
            for devices in container.devices {
                if devices.resource_name.starts_with(VENDOR) {
                    let key = [&pod.namespace, &pod.name, &container.name, &devices.resource_name]
                        .map(Clone::clone);
                    held.entry(key).or_default().extend(devices.device_ids.iter().map(|id| device(id)));
                }
            }
        }
    }
    let allocations = held.into_iter().map(|([namespace, pod, container, resource], mut uuids)| {
        uuids.sort_unstable();
        uuids.dedup();
        Allocation { namespace, pod, container, resource, uuids }
    });
    // Kubelets before 1.23 do not know the question, and later ones can be told not to answer it.
    let announced = kubelet.get_allocatable_resources(AllocatableResourcesRequest {}).await.ok();
    let announced = announced.map(|answer| announced_by_name(answer.into_inner().devices));
    Ok(Told { allocations: allocations.collect(), announced })
}

/// The kubelet lists a resource once for every device, or for every NUMA node.
fn announced_by_name(devices: Vec<ContainerDevices>) -> Vec<Announced> {
    let mut names: BTreeMap<String, Announced> = BTreeMap::new();
    for ContainerDevices { resource_name: resource, device_ids, topology: _ } in devices {
        if !resource.starts_with(VENDOR) {
            continue;
        }
        let known = names.entry(resource).or_insert_with_key(|resource| Announced {
            resource: resource.clone(),
            uuids: Vec::new(),
            shared: resource.ends_with(SHARED),
        });
        known.shared |= device_ids.iter().any(|id| id.contains(SHARE));
        known.uuids.extend(device_ids.iter().map(|id| device(id)));
    }
    let mut announced: Vec<Announced> = names.into_values().collect();
    for known in &mut announced {
        known.uuids.sort_unstable();
        known.uuids.dedup();
    }
    announced
}

/// What stands between a device and the number of a share of it.
const SHARE: &str = "::";

/// A plugin that lets containers share a GPU announces it as `UUID::0`, `UUID::1` and so on.
fn device(id: &str) -> String {
    id.split_once(SHARE).map_or(id, |(uuid, _)| uuid).to_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use tokio::net::UnixListener;
    use tokio::task::AbortHandle;
    use tonic::{Request, Response, Status};
    use v1::pod_resources_lister_server::{PodResourcesLister, PodResourcesListerServer};
    use v1::*;

    /// A kubelet with these pods, and what it announces; one without that does not know the question.
    struct Kubelet(Vec<PodResources>, Option<Vec<ContainerDevices>>);

    #[tonic::async_trait]
    impl PodResourcesLister for Kubelet {
        async fn list(
            &self,
            _: Request<ListPodResourcesRequest>,
        ) -> Result<Response<ListPodResourcesResponse>, Status> {
            Ok(Response::new(ListPodResourcesResponse { pod_resources: self.0.clone() }))
        }

        async fn get_allocatable_resources(
            &self,
            _: Request<AllocatableResourcesRequest>,
        ) -> Result<Response<AllocatableResourcesResponse>, Status> {
            let devices = self.1.clone().ok_or_else(|| Status::unimplemented("an old kubelet"))?;
            Ok(Response::new(AllocatableResourcesResponse { devices, ..Default::default() }))
        }

        async fn get(
            &self,
            _: Request<GetPodResourcesRequest>,
        ) -> Result<Response<GetPodResourcesResponse>, Status> {
            Err(Status::unimplemented("nobody asks"))
        }
    }

    /// Plays a kubelet with these pods until the handle is used.
    pub(crate) fn serve(
        socket: &Path,
        pods: Vec<PodResources>,
        announced: Option<Vec<ContainerDevices>>,
    ) -> AbortHandle {
        let listener = UnixListener::bind(socket).expect("the folder is the test's own");
        let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
        let server = tonic::transport::Server::builder()
            .add_service(PodResourcesListerServer::new(Kubelet(pods, announced)))
            .serve_with_incoming(incoming);
        tokio::spawn(server).abort_handle()
    }

    async fn told(pods: Vec<PodResources>, announced: Option<Vec<ContainerDevices>>) -> Told {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let socket = folder.path().join("kubelet.sock");
        let kubelet = serve(&socket, pods, announced);
        let answer = super::ask(&socket).await.expect("the kubelet answers");
        kubelet.abort();
        answer
    }

    async fn ask(pods: Vec<PodResources>) -> Vec<Allocation> {
        told(pods, None).await.allocations
    }

    #[tokio::test]
    async fn devices_are_told_under_the_name_that_they_are_announced_by() {
        let gpu = "nvidia.com/gpu";
        let announced = vec![
            devices("nvidia.com/mig-1g.10gb", &["MIG-b"]),
            devices(gpu, &["GPU-c"]),
            devices("example.com/nic", &["nic-0"]),
            devices(gpu, &["GPU-a"]),
            devices("nvidia.com/a100", &["GPU-d::0", "GPU-d::1"]),
            devices("nvidia.com/gpu.shared", &["GPU-e"]),
        ];
        let answer = told(Vec::new(), Some(announced)).await.announced.expect("this kubelet tells");
        let answer: Vec<(&str, String, bool)> = answer
            .iter()
            .map(|known| (known.resource.as_str(), known.uuids.join(" "), known.shared))
            .collect();
        let expected = [
            ("nvidia.com/a100", "GPU-d", true),
            (gpu, "GPU-a GPU-c", false),
            ("nvidia.com/gpu.shared", "GPU-e", true),
            ("nvidia.com/mig-1g.10gb", "MIG-b", false),
        ];
        assert_eq!(answer, expected.map(|(name, uuids, shared)| (name, uuids.to_owned(), shared)));
        assert_eq!(told(Vec::new(), None).await.announced, None, "which is not that there are none");
    }

    pub(crate) fn devices(resource: &str, ids: &[&str]) -> ContainerDevices {
        let device_ids = ids.iter().map(|&id| id.to_owned()).collect();
        ContainerDevices { resource_name: resource.to_owned(), device_ids, topology: None }
    }

    pub(crate) fn pod(name: &str, containers: &[(&str, &[ContainerDevices])]) -> PodResources {
        let containers = containers.iter().map(|&(name, devices)| ContainerResources {
            name: name.to_owned(),
            devices: devices.to_vec(),
            ..ContainerResources::default()
        });
        PodResources {
            name: name.to_owned(),
            namespace: "tenant".to_owned(),
            containers: containers.collect(),
        }
    }

    fn held(pod: &str, container: &str, uuids: &[&str]) -> Allocation {
        Allocation {
            namespace: "tenant".to_owned(),
            pod: pod.to_owned(),
            container: container.to_owned(),
            resource: "nvidia.com/gpu".to_owned(),
            uuids: uuids.iter().map(|&uuid| uuid.to_owned()).collect(),
        }
    }

    #[tokio::test]
    async fn containers_with_gpus_are_told_once_each_in_order() {
        let gpu = "nvidia.com/gpu";
        let answer = ask(vec![
            pod("web", &[("app", &[]), ("sidecar", &[devices("example.com/nic", &["nic-0"])])]),
            // Devices of two NUMA nodes come in two lists.
            pod("train", &[("main", &[devices(gpu, &["GPU-c", "GPU-b"]), devices(gpu, &["GPU-a"])])]),
            pod("infer", &[("main", &[devices(gpu, &["GPU-d"])]), ("other", &[devices(gpu, &["GPU-e"])])]),
        ]);
        assert_eq!(
            answer.await,
            [
                held("infer", "main", &["GPU-d"]),
                held("infer", "other", &["GPU-e"]),
                held("train", "main", &["GPU-a", "GPU-b", "GPU-c"]),
            ]
        );
    }

    #[tokio::test]
    async fn time_slices_of_one_gpu_show_as_that_gpu() {
        let share = |id: &str| [devices("nvidia.com/gpu", &[id])];
        let answer = ask(vec![
            pod("one", &[("main", &share("GPU-a::0"))]),
            pod("two", &[("main", &share("GPU-a::3"))]),
        ]);
        assert_eq!(answer.await, [held("one", "main", &["GPU-a"]), held("two", "main", &["GPU-a"])]);
    }

    #[tokio::test]
    async fn answer_of_a_full_node_is_not_too_large() {
        let pods = (0..20_000).map(|n| {
            let name = format!("{n:0250}");
            pod(&name, &[("main", &[devices("nvidia.com/gpu", &["GPU-a"])])])
        });
        assert_eq!(ask(pods.collect()).await.len(), 20_000);
    }

    #[tokio::test]
    async fn kubelet_that_is_not_there_is_an_error_that_names_the_socket() {
        let error =
            super::ask(Path::new("/nowhere/kubelet.sock")).await.expect_err("there is no such socket");
        let sentence = "failed to ask the kubelet at /nowhere/kubelet.sock which pods hold GPUs: No such file or directory";
        assert!(format!("{error:#}").starts_with(sentence), "{error:#}");
    }
}
